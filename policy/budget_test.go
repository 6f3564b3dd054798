package policy

import (
	"fmt"
	"math"
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

// Each budget by itself: written, inherited, lifted, and in default alone.
func TestEachBudgetIsInheritedByItself(t *testing.T) {
	for key, of := range map[string]func(Budget) int{
		"groups":              func(b Budget) int { return b.Groups },
		"new_series_per_hour": func(b Budget) int { return b.NewSeriesPerHour },
		"new_series_per_day":  func(b Budget) int { return b.NewSeriesPerDay },
		"label_values":        func(b Budget) int { return b.LabelValues },
		"pushes_per_minute":   func(b Budget) int { return b.PushesPerMinute },
		"borrow":              func(b Budget) int { return b.Borrow },
	} {
		p := parse(t, fmt.Sprintf(`version: v1
budget: {series: 1000}
default: {budget: {series: 10, %[1]s: 5}}
jobs:
- {job: inherits}
- {job: dated, budget: {%[1]s: 7, until: 2026-12-31}}
- {job: lifts, budget: {%[1]s: 0}}
- {job: most, budget: {%[1]s: 2147483647}}
`, key))
		for job, want := range map[string]int{"inherits": 5, "dated": 7, "lifts": 0, "most": math.MaxInt32, "any": 5} {
			b, _ := p.Entry(job).Budget(day(2026, 12, 31))
			if got := of(b); got != want || b.Series != 10 {
				t.Errorf("%s: %s: got %d of %+v, want %d", key, job, got, b, want)
			}
		}
		if b, expired := p.Entry("dated").Budget(day(2027, 1, 1)); !expired || of(b) != 5 {
			t.Errorf("%s: after its end got %+v", key, b)
		}
	}
}

// Who holds no more than is measured has nothing to go beyond.
func TestBorrowNeedsSeries(t *testing.T) {
	p := parse(t, "version: v1\nbudget: {series: 100}\ndefault: {budget: {series: 10, borrow: 5}}\njobs:\n- {job: a, budget: {series: 0}}\n")
	if b, _ := p.Entry("a").Budget(time.Now()); b.Borrow != 0 {
		t.Errorf("got %+v", b)
	}
	if p.Reserved() != 0 {
		t.Errorf("%d series are reserved", p.Reserved())
	}
}

func TestBudgetsOfEntriesAndTheGuard(t *testing.T) {
	p := parse(t, `version: v1
budget: {groups: 70}
default: {entry_budget: {series: 9, jobs: 8, new_jobs_per_day: 7}}
jobs:
- {job: inherits_none}
- {job: "own_.*", entry_budget: {jobs: 2147483647, new_jobs_per_day: 0}}
`)
	type shared struct{ Series, Jobs, NewJobs int }
	got := map[string]shared{}
	for _, e := range p.Entries() {
		got[e.Name] = shared{e.EntryBudget, e.EntryJobs, e.EntryNewJobsPerDay}
	}
	want := map[string]shared{"default": {9, 8, 7}, "inherits_none": {}, "own_.*": {0, math.MaxInt32, 0}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entry budgets (-want +got):\n%s", diff)
	}
	if p.GroupsBudget() != 70 || p.SeriesBudget() != 0 || p.Reserved() != 9 {
		t.Errorf("the guard: %d groups, %d series, %d reserved", p.GroupsBudget(), p.SeriesBudget(), p.Reserved())
	}
}

func TestLifetimes(t *testing.T) {
	p := parse(t, `version: v1
default: {stale_after: 7d, keep_last_success: true}
jobs:
- {job: inherits}
- {job: own, stale_after: 1d12h}
- {job: shortest, stale_after: 1ms}
- {job: never, stale_after: 0, keep_last_success: false}
- {job: quoted, stale_after: "0", keep_last_success: True}
`)
	type life struct {
		After time.Duration
		Keep  bool
	}
	got := map[string]life{}
	for _, e := range p.Entries() {
		got[e.Name] = life{e.StaleAfter, e.KeepLastSuccess}
	}
	week := 7 * 24 * time.Hour
	want := map[string]life{
		"default": {week, true}, "inherits": {week, true}, "own": {36 * time.Hour, true}, "shortest": {time.Millisecond, true},
		"never": {0, false}, "quoted": {0, true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lifetimes (-want +got):\n%s", diff)
	}
	if e := parse(t, "version: v1").Entry("any"); e.StaleAfter != 0 || e.KeepLastSuccess {
		t.Errorf("left out: got %s, %t", e.StaleAfter, e.KeepLastSuccess)
	}
}

func TestWithoutBudgetsEverythingIsOnlyMeasured(t *testing.T) {
	p := parse(t, "version: v1")
	e := p.Entry("any")
	if b, expired := e.Budget(time.Now()); b != (Budget{}) || expired || e.EntryBudget != 0 || p.SeriesBudget() != 0 {
		t.Errorf("got %+v %t %d %d", b, expired, e.EntryBudget, p.SeriesBudget())
	}
	if p.GroupsBudget() != 0 || p.Reserved() != 0 || e.EntryJobs != 0 || e.EntryNewJobsPerDay != 0 {
		t.Errorf("got %d groups, %d reserved and %+v", p.GroupsBudget(), p.Reserved(), e)
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
	if p.Reserved() != 467 {
		t.Errorf("%d series are reserved", p.Reserved())
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
