package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v4"
)

// relabelConfigs reads Prometheus' relabel_configs as Prometheus does, but tells
// where each fault is.
func (d *decoder) relabelConfigs(n *yaml.Node, list, entry string) relabelList {
	var l relabelList
	l.spot = d.items(n, list, "a list of relabel configs", func(i int, item *yaml.Node) {
		l.list = append(l.list, d.relabelConfig(item, prefix(entry, fmt.Sprintf("relabel config %d", i+1))))
	})
	return l
}

func (d *decoder) relabelConfig(n *yaml.Node, where string) relabelConfig {
	r := relabelConfig{where: where, spot: d.at(target(n))}
	before := len(d.faults)
	d.mapping(n, where, []field{
		{"source_labels", "", func(n *yaml.Node, where string) { r.sourceLabels = d.strings(n, where, "a list of label names") }},
		{"separator", "", func(n *yaml.Node, where string) { r.separator = d.scalar(n, where) }},
		{"regex", "", func(n *yaml.Node, where string) { r.regex = d.scalar(n, where) }},
		{"modulus", "", func(n *yaml.Node, where string) { r.modulus = d.number(n, where) }},
		{"target_label", "", func(n *yaml.Node, where string) { r.targetLabel = d.name(n, where) }},
		{"replacement", "", func(n *yaml.Node, where string) { r.replacement = d.scalar(n, where) }},
		{"action", "", func(n *yaml.Node, _ string) { r.action = d.relabelAction(n, where) }},
	})
	config := r.running(d)
	if len(d.faults) == before {
		r.config = config
	}
	return r
}

// readable returns the configs without a fault of their own.
func (l relabelList) readable() []relabelConfig {
	return slices.DeleteFunc(slices.Clone(l.list), func(r relabelConfig) bool { return r.config == nil })
}

// running is what the fields say, and Prometheus' defaults.
func (r *relabelConfig) running(d *decoder) *relabel.Config {
	c := relabel.DefaultRelabelConfig
	for _, name := range r.sourceLabels.list {
		c.SourceLabels = append(c.SourceLabels, model.LabelName(name.text))
	}
	if r.separator.written() {
		c.Separator = r.separator.text
	}
	if r.replacement.written() {
		c.Replacement = r.replacement.text
	}
	if r.action.written() {
		c.Action = relabel.Action(r.action.text)
	}
	c.TargetLabel, c.Modulus = r.targetLabel.text, uint64(r.modulus.value)
	if !r.regex.written() {
		return &c
	}
	// The pattern is tried alone first: "a)|(b" is one only inside the anchors.
	_, err := regexp.Compile(r.regex.text)
	if err == nil {
		c.Regex, err = relabel.NewRegexp(r.regex.text)
	}
	if err != nil {
		d.fault(r.regex.spot, prefix(r.where, "regex"), "%s", message(err))
	}
	return &c
}

// relabelAction reads an action, in upper case or lower, as Prometheus does.
func (d *decoder) relabelAction(n *yaml.Node, where string) word {
	n = d.follow(n)
	lower := *n
	lower.Value = strings.ToLower(n.Value)
	return d.oneOf(&lower, where, "action", relabelActions()...)
}

func relabelActions() []string {
	return []string{
		string(relabel.Replace), string(relabel.Keep), string(relabel.Drop), string(relabel.KeepEqual), string(relabel.DropEqual),
		string(relabel.HashMod), string(relabel.LabelMap), string(relabel.LabelDrop), string(relabel.LabelKeep),
		string(relabel.Lowercase), string(relabel.Uppercase),
	}
}

// scalar reads a string that Prometheus lets stand without quotes even where it
// looks like a number.
func (d *decoder) scalar(n *yaml.Node, where string) word {
	n = d.follow(n)
	switch n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!timestamp":
		return word{d.at(n), n.Value}
	}
	return d.string(n, where)
}
