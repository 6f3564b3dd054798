package proxy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/rules"
)

// The words for values that have no shape of the rules'.
const (
	aNumber = "number"
	aWord   = "word"
	aText   = "text" // of several words
)

// unboundedShare is which part of a label's values has a shape without bound where the
// label is said to have none itself.
const unboundedShare = 0.5

// ShapeView is how many of a label's values have a shape.
type ShapeView struct {
	// Shape is one of the rules', or number, word or text; __other__ are the rest
	// where they are of many shapes.
	Shape string `json:"shape"`
	// Share is the part of the values that have it: exact up to 64, then an estimate.
	Share float64 `json:"share"`
	// Example is one of them, redacted.
	Example string `json:"example,omitempty"`
	// Unbounded says that values of the shape have no bound.
	Unbounded bool `json:"unbounded,omitempty"`
}

// LabelFix is what bounds a label.
type LabelFix struct {
	// Job is what the author of the job does, Rule what the policy may have instead:
	// empty where the label's name needs quoting.
	Job  string `json:"job"`
	Rule string `json:"rule,omitempty"`
}

// shapeOf names the shape of a label's value.
func shapeOf(label, value string) string {
	if shape, _, ok := rules.Shape(label, value); ok {
		return shape
	}
	if _, err := strconv.ParseFloat(value, 64); err == nil {
		return aNumber
	}
	if strings.ContainsFunc(value, unicode.IsSpace) {
		return aText
	}
	return aWord
}

func (g *Guard) labelView(job string, l demand.LabelUse) LabelView {
	v := LabelView{Label: l.Label, Distinct: int(l.Values)}
	unbounded, worst := 0.0, ""
	for _, s := range g.demand.Shapes(job, l.Label) {
		_, known := rules.ActionFor(s.Shape)
		v.Shapes = append(v.Shapes, ShapeView{Shape: s.Shape, Share: s.Share, Example: s.Example, Unbounded: known})
		if known {
			if unbounded += s.Share; worst == "" {
				worst = s.Shape
			}
		}
	}
	if unbounded >= unboundedShare && v.Distinct > 1 {
		v.Fix = fixOf(l.Label, worst)
	}
	return v
}

// fixOf is what bounds a label whose values have the shape.
func fixOf(label, shape string) *LabelFix {
	action, _ := rules.ActionFor(shape)
	fix := &LabelFix{Job: "leave the label out: values of shape " + shape + " have no bound"}
	if label == model.JobLabel {
		fix.Job = "give the job one name for all its runs: values of shape " + shape + " have no bound"
	} else if model.LegacyValidation.IsValidLabelName(label) {
		fix.Rule = fmt.Sprintf("{id: bound-%s, labels: [%s], shapes: [%s], action: %s}", label, label, shape, action)
	}
	return fix
}
