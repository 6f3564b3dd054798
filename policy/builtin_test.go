package policy_test

import (
	"testing"

	"github.com/pushguard/pushguard/deploy"
	"github.com/pushguard/pushguard/policy"
)

// TestBuiltIn: the policy that is shipped is enforced, and can be reported as a whole.
func TestBuiltIn(t *testing.T) {
	p, err := policy.Parse("built-in", deploy.ExamplePolicy)
	if err != nil {
		t.Fatal(err)
	}
	reported := p.InReport()
	for i, e := range p.Entries() {
		if e.Mode != policy.Enforce {
			t.Errorf("%s: %s", e.Name, e.Mode)
		}
		r := reported.Entries()[i]
		if r.Mode != policy.Report || r.Name != e.Name || r.Rules != e.Rules || r.Owner != e.Owner {
			t.Errorf("%s in report: %+v", e.Name, r)
		}
	}
	for _, job := range []string{"nightly_load", "airflow_state", "anything"} {
		if got := reported.Entry(job); got.Mode != policy.Report || got.Name != p.Entry(job).Name {
			t.Errorf("%s: %s, %s", job, got.Name, got.Mode)
		}
	}
}
