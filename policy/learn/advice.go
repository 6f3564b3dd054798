package learn

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/rules"
)

// advice is what a policy that is known to be good does about labels and names of
// jobs: a draft repeats of it what there is something to do about.
type advice struct {
	foldNames []string
	fold      rules.Shapes
	rules     []adviceRule
	set       *rules.Set
}

// adviceRule is a rule as its policy has it.
type adviceRule struct {
	ID          string   `yaml:"id"`
	Labels      []string `yaml:"labels"`
	Shapes      []string `yaml:"shapes"`
	Action      string   `yaml:"action"`
	Buckets     int      `yaml:"buckets"`
	Length      int      `yaml:"length"`
	Replacement string   `yaml:"replacement"`

	names []*regexp.Regexp
	each  []rules.Shapes // one for each of Shapes
}

// readAdvice reads fold_jobs and the rules of default.
func readAdvice(policy []byte) (*advice, error) {
	var file struct {
		FoldJobs []string `yaml:"fold_jobs"`
		Default  struct {
			Rules []adviceRule `yaml:"rules"`
		} `yaml:"default"`
	}
	if err := yaml.Unmarshal(policy, &file); err != nil {
		return nil, fmt.Errorf("the policy to learn from: %w", err)
	}
	a := &advice{foldNames: file.FoldJobs, rules: file.Default.Rules}
	var err error
	if a.fold, err = rules.NewShapes(a.foldNames); err != nil {
		return nil, fmt.Errorf("the policy to learn from: fold_jobs: %w", err)
	}
	return a, a.compile()
}

func (a *advice) compile() error {
	var config rules.Config
	for i := range a.rules {
		r := &a.rules[i]
		config.Rules = append(config.Rules, rules.Rule{
			ID: r.ID, Labels: r.Labels, Shapes: r.Shapes, Action: rules.Action(r.Action),
			Buckets: r.Buckets, Length: r.Length, Replacement: r.Replacement,
		})
	}
	var err error
	if a.set, err = rules.Compile(config); err != nil { // which finds every fault there is
		return fmt.Errorf("the policy to learn from: %w", err)
	}
	for i := range a.rules {
		if err := a.rules[i].compile(); err != nil {
			return fmt.Errorf("the policy to learn from: %w", err)
		}
	}
	return nil
}

func (r *adviceRule) compile() error {
	for _, name := range r.Labels {
		re, err := regexp.Compile("^(?s:" + name + ")$")
		if err != nil {
			return err
		}
		r.names = append(r.names, re)
	}
	for _, name := range r.Shapes {
		one, err := rules.NewShapes([]string{name})
		if err != nil {
			return err
		}
		r.each = append(r.each, one)
	}
	return nil
}

// matches reports whether the rule is about labels of this name.
func (r *adviceRule) matches(label string) bool {
	return len(r.names) == 0 || slices.ContainsFunc(r.names, func(re *regexp.Regexp) bool { return re.MatchString(label) })
}

// shapeOf is the first shape of the rule that the value has, or empty.
func (r *adviceRule) shapeOf(label, value string) string {
	for i, one := range r.each {
		if one.Fold(label, value) != value {
			return r.Shapes[i]
		}
	}
	return ""
}

// about returns the index of the rule that changes the label, the shape by which it
// does, empty if by name alone, and what is left of the value, empty if nothing.
func (a *advice) about(label, value string) (rule int, shape, left string) {
	v := a.set.Judge(nil, "", []labels.Label{{Name: label, Value: value}})
	if len(v.Findings) == 0 {
		return -1, "", value
	}
	rule = slices.IndexFunc(a.rules, func(r adviceRule) bool { return r.ID == v.Findings[0].ID })
	if len(v.Labels) > 0 {
		left = v.Labels[0].Value
	}
	return rule, a.rules[rule].shapeOf(label, value), left
}
