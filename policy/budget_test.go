package policy

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func moment(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func day(year int, month time.Month, day int) time.Time {
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
}

func TestBudgetsAreInheritedFieldByField(t *testing.T) {
	p := parse(t, `version: v1
default:
  budget: {series: 500, label_values: 100}
  entry_budget: {series: 9000}
  on_over_budget: reject
  merge: replace
  on_refuse: accept
jobs:
- job: a
- job: b
  budget: {series: 2000, until: 2026-12-31}
  on_over_budget: trim
  merge: families
  on_refuse: reject
- job: c
  budget: {series: 0, label_values: 7}
  entry_budget: {series: 50}
`)
	type row struct {
		Name         string
		Budget       Budget
		EntryBudget  int
		OnOverBudget OverBudget
		Merge        Merge
		Accept       bool
	}
	var got []row
	for _, e := range p.Entries() {
		b, expired := e.Budget(day(2026, 1, 1))
		if expired {
			t.Errorf("%s: expired", e.Name)
		}
		got = append(got, row{e.Name, b, e.EntryBudget, e.OnOverBudget, e.Merge, e.AcceptRefused})
	}
	want := []row{
		{"a", Budget{Series: 500, LabelValues: 100}, 0, RejectPush, MergeReplace, true},
		{"b", Budget{Series: 2000, LabelValues: 100, Until: day(2026, 12, 31)}, 0, Trim, MergeFamilies, false},
		{"c", Budget{Series: 0, LabelValues: 7}, 50, RejectPush, MergeReplace, true},
		{"default", Budget{Series: 500, LabelValues: 100}, 9000, RejectPush, MergeReplace, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestWithoutBudgetsEverythingIsOnlyMeasured(t *testing.T) {
	p := parse(t, "version: v1")
	e := p.Entry("any")
	if b, expired := e.Budget(time.Now()); b != (Budget{}) || expired || e.EntryBudget != 0 || p.SeriesBudget() != 0 {
		t.Errorf("got %+v %t %d %d", b, expired, e.EntryBudget, p.SeriesBudget())
	}
	if e.OnOverBudget != Trim || e.Merge != MergeFamilies || e.AcceptRefused {
		t.Errorf("got %+v", e)
	}
}

func TestUntilIsTheLastDayInUTC(t *testing.T) {
	e := parse(t, "version: v1\ndefault: {budget: {series: 5}}\njobs:\n- {job: a, budget: {series: 9, until: '2026-12-31'}}\n").Entry("a")
	for _, test := range []struct {
		now     string
		series  int
		expired bool
	}{
		{"2026-12-30T12:00:00Z", 9, false},
		{"2026-12-31T00:00:00Z", 9, false},
		{"2026-12-31T23:59:59Z", 9, false},
		{"2027-01-01T00:00:00Z", 5, true},
		{"2027-01-01T00:30:00+01:00", 9, false}, // the year's last hour in UTC
		{"2026-12-31T23:30:00-01:00", 5, true},
	} {
		if b, expired := e.Budget(moment(t, test.now)); b.Series != test.series || expired != test.expired {
			t.Errorf("%s: got %+v, expired %t", test.now, b, expired)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := parse(t, `version: v1
jobs:
- {job: late, budget: {series: 9, until: 2026-12-31}}
- {job: none, budget: {series: 9}}
- job: soon
  budget:
    label_values: 3
    until: 2026-12-10
`)
	const late = `policy.yml:3:42: job "late": budget: until: the budget ends with 2026-12-31: default's holds from then on`
	const ended = `policy.yml:8:12: job "soon": budget: until: the budget ended with 2026-12-10: default's holds`
	for now, want := range map[string][]string{
		"2026-11-25T23:59:59Z": nil,
		"2026-11-26T00:00:00Z": {`policy.yml:8:12: job "soon": budget: until: the budget ends with 2026-12-10: default's holds from then on`},
		"2026-12-11T00:00:00Z": {ended},
		"2026-12-17T00:00:00Z": {late, ended},
	} {
		var got []string
		for _, w := range p.Warnings(moment(t, now)) {
			got = append(got, w.Error())
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", now, diff)
		}
	}
}

// What is set aside must fit, at the limit and one over it.
func TestGuarantees(t *testing.T) {
	const jobs = `
jobs:
- {job: one, budget: {series: 100}}
- {job: dated, budget: {series: 5, until: 2026-12-31}}
- {job: capped, budget: {series: 70}, entry_budget: {series: 40}}
- {job: only_measured, budget: {series: 0}}
- {job: team_.*, budget: {series: 1000}, entry_budget: {series: 300}}
- {job: others_.*, budget: {series: 1000}}
`
	guarantee := map[string]int{"one": 100, "dated": 20, "capped": 40, "only_measured": 0, "team_.*": 300, "others_.*": 0, "default": 7}
	const text = "default: {budget: {series: 20}, entry_budget: {series: 7}}" + jobs
	p := parse(t, "version: v1\nbudget: {series: 467}\n"+text)
	if p.SeriesBudget() != 467 {
		t.Errorf("the guard's budget is %d", p.SeriesBudget())
	}
	for _, e := range p.Entries() {
		if got := e.Guaranteed(); got != guarantee[e.Name] {
			t.Errorf("%s: %d guaranteed, want %d", e.Name, got, guarantee[e.Name])
		}
	}
	_, err := Parse("p", []byte("version: v1\nbudget: {series: 466}\n"+text))
	const want = "p:2:18: budget: series: the entries guarantee 467 series together, more than the guard's 466: lower their budgets or raise this one"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	parse(t, "version: v1\nbudget: {series: 0}\n"+text) // measures, and refuses nothing
}
