package console

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

// policyPage is the data of the page of the policy.
type policyPage struct {
	Now time.Time
	proxy.PolicyView
	Texts []policyText
}

// policyText is one file, its lines with their anchors.
type policyText struct {
	Name  string
	Lines []policyLine
}

type policyLine struct {
	Number       int
	Anchor, Text string
}

func (c *Console) policy(*http.Request) (any, error) {
	p := &policyPage{Now: c.cfg.Now(), PolicyView: c.guard.Policy()}
	for i, t := range c.guard.PolicyTexts() {
		file := policyText{Name: t.Name}
		for n, text := range t.Lines {
			file.Lines = append(file.Lines, policyLine{n + 1, anchor(i, n+1), text})
		}
		p.Texts = append(p.Texts, file)
	}
	return p, nil
}

// anchor names a line of a file: L12, and of the files after the first F2L12.
func anchor(file, line int) string {
	if file == 0 {
		return "L" + strconv.Itoa(line)
	}
	return "F" + strconv.Itoa(file+1) + "L" + strconv.Itoa(line)
}

// place is the link to a line of the policy in force; empty if it is not there.
func (c *Console) place(file string, line int) string {
	i := slices.Index(c.guard.Policy().Files, file)
	if i < 0 || line < 1 {
		return ""
	}
	return "policy#" + anchor(i, line)
}
