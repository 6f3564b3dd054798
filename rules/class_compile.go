package rules

import (
	"slices"
)

// familyRule is a compiled FamilyRule.
type familyRule struct {
	FamilyRule
	names *names
}

func (r *familyRule) matches(f Family) bool {
	return (len(r.Types) == 0 || slices.Contains(r.Types, f.Type)) && r.names.match(f.Name)
}

// CompileClasses compiles a ClassConfig. The error is a Faults with every fault
// there is; Fault.Rule is an index into ClassConfig.Families.
func CompileClasses(config ClassConfig) (*Classes, error) {
	comp := compiler{rule: -1}
	c := &Classes{semantics: config.Semantics}
	comp.semantics(config.Semantics)
	if c.semantics == Auto {
		c.semantics = ""
	}
	for i, r := range config.Families {
		comp.rule = i
		comp.as(r)
		c.rules = append(c.rules, familyRule{r, comp.families(r.Metrics)})
	}
	if len(comp.faults) > 0 {
		return nil, comp.faults
	}
	return c, nil
}

// as holds what a rule makes of a family to what there is.
func (c *compiler) as(r FamilyRule) {
	const want = "want counter, snapshot, event or drop"
	switch r.As {
	case ClassCounter:
	case ClassSnapshot, ClassEvent, ClassDrop:
		if r.Semantics != "" {
			c.fault("semantics", -1, "semantics is for as: counter, not %s", r.As)
			return
		}
	case "":
		c.fault("as", -1, "as is missing: %s", want)
	default:
		c.fault("as", -1, "unknown as %s: %s", clipped(string(r.As)), want)
	}
	c.semantics(r.Semantics)
}

func (c *compiler) semantics(s Semantics) {
	switch s {
	case "", Auto, Cumulative, Delta, Latest:
		return
	}
	c.fault("semantics", -1, "unknown semantics %s: want auto, cumulative, delta or latest", clipped(string(s)))
}

// families compiles the field metrics.
func (c *compiler) families(patterns []string) *names {
	if len(patterns) == 0 {
		c.fault("metrics", -1, "metrics is missing: want patterns of family names")
	}
	n := newNames(len(patterns))
	for i, p := range patterns {
		if p == "" {
			c.fault("metrics", i, "empty pattern: no family has an empty name")
			continue
		}
		if _, err := n.add(p); err != nil {
			c.fault("metrics", i, "bad pattern: %w", err)
		}
	}
	return n
}
