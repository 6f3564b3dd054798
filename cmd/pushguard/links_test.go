package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	mdCode    = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
	notAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are those that GitHub gives the headings of a page.
func anchors(page string) map[string]bool {
	out := map[string]bool{}
	fenced := regexp.MustCompile("(?ms)^```.*?^```")
	for _, m := range mdHeading.FindAllStringSubmatch(fenced.ReplaceAllString(page, ""), -1) {
		text := mdLink.ReplaceAllString(strings.ToLower(m[1]), "]")
		out[strings.ReplaceAll(notAnchor.ReplaceAllString(text, ""), " ", "-")] = true
	}
	return out
}

// Every link in a page to a file of this repository has that file, and the heading.
func TestLinksOfPagesResolve(t *testing.T) {
	top := filepath.Join("..", "..")
	list, err := exec.Command("git", "-C", top, "ls-files", "--cached", "--others", "--exclude-standard", "*.md").Output()
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, name := range strings.Fields(string(list)) {
		content, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mdLink.FindAllStringSubmatch(mdCode.ReplaceAllString(string(content), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			checked++
			if fault := unresolved(filepath.Join(top, name), m[1]); fault != "" {
				t.Errorf("%s: %s: %s", name, m[1], fault)
			}
		}
	}
	if checked < 100 {
		t.Errorf("only %d links were found", checked)
	}
}

// unresolved says what is wrong with a link of a page, "" if nothing is.
func unresolved(page, link string) string {
	file, anchor, _ := strings.Cut(link, "#")
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), file)
	}
	if _, err := os.Stat(target); err != nil {
		return err.Error()
	}
	if anchor == "" || filepath.Ext(target) != ".md" {
		return ""
	}
	content, err := os.ReadFile(target)
	if err != nil {
		return err.Error()
	}
	if !anchors(string(content))[anchor] {
		return "no such heading"
	}
	return ""
}

func TestAnchors(t *testing.T) {
	got := anchors("# The `audit` log, and *more*\n\n```sh\n# no heading\n```\n## a_b: c-d [x](y)\n")
	for _, want := range []string{"the-audit-log-and-more", "a_b-c-d-x"} {
		if !got[want] {
			t.Errorf("no %s in %v", want, got)
		}
	}
	if len(got) != 2 {
		t.Errorf("%v", got)
	}
}
