package policy

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/rules"
)

func TestCountersLeftOut(t *testing.T) {
	k := parse(t, "version: v1").Entry("any").Counters
	if k.Route != RouteAuto || k.UnknownFirst != CountFirst {
		t.Errorf("got %+v", k)
	}
	want := []string{
		"app_id", "application_id", "attempt", "container_id", "dag_run_id", "execution_id", "job_run_id",
		"pod", "pod_name", "run_id", "task_instance_id", "try_number",
	}
	if diff := cmp.Diff(want, k.RunLabels); diff != "" {
		t.Errorf("run labels (-want +got):\n%s", diff)
	}
	if got := k.Classes.Of(rules.Family{Name: "x_total", Type: dto.MetricType_COUNTER}); got.Class != rules.ClassCounter || got.Semantics != rules.Auto {
		t.Errorf("x_total is %+v", got)
	}
}

func TestCountersAreInheritedOneByOne(t *testing.T) {
	p := parse(t, `version: v1
default:
  counters:
    route: statsd
    semantics: cumulative
    unknown_first: ignore
    run_labels: [run_id, attempt]
    families:
    - {metrics: [x_total], as: snapshot}
jobs:
- {job: inherits}
- {job: route, counters: {route: snapshot}}
- {job: semantics, counters: {semantics: auto}}
- {job: unknown, counters: {unknown_first: count}}
- {job: labels, counters: {run_labels: []}}
- {job: families, counters: {families: [{metrics: ["x_.*"], types: [counter, untyped], as: event}]}}
- {job: no_families, counters: {route: totals, families: []}}
`)
	type row struct {
		Route   Route
		Unknown UnknownFirst
		Labels  []string
		X       rules.Class
		Y       rules.Semantics
	}
	got := map[string]row{}
	for _, e := range p.Entries() {
		k := e.Counters
		x := k.Classes.Of(rules.Family{Name: "x_total", Type: dto.MetricType_COUNTER})
		y := k.Classes.Of(rules.Family{Name: "y_total", Type: dto.MetricType_COUNTER})
		got[e.Name] = row{k.Route, k.UnknownFirst, k.RunLabels, x.Class, y.Semantics}
	}
	both := []string{"attempt", "run_id"}
	inherited := row{RouteStatsD, IgnoreFirst, both, rules.ClassSnapshot, rules.Cumulative}
	want := map[string]row{
		"default":     inherited,
		"inherits":    inherited,
		"route":       {RouteSnapshot, IgnoreFirst, both, rules.ClassSnapshot, rules.Cumulative},
		"semantics":   {RouteStatsD, IgnoreFirst, both, rules.ClassSnapshot, rules.Auto},
		"unknown":     {RouteStatsD, CountFirst, both, rules.ClassSnapshot, rules.Cumulative},
		"labels":      {RouteStatsD, IgnoreFirst, []string{}, rules.ClassSnapshot, rules.Cumulative},
		"families":    {RouteStatsD, IgnoreFirst, both, rules.ClassEvent, rules.Cumulative},
		"no_families": {RouteTotals, IgnoreFirst, both, rules.ClassCounter, rules.Cumulative},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}

func TestEveryTypeCanBeNamed(t *testing.T) {
	for word, of := range map[string]dto.MetricType{
		"counter": dto.MetricType_COUNTER, "gauge": dto.MetricType_GAUGE, "histogram": dto.MetricType_HISTOGRAM,
		"summary": dto.MetricType_SUMMARY, "untyped": dto.MetricType_UNTYPED,
	} {
		e := parse(t, fmt.Sprintf("version: v1\ndefault: {counters: {families: [{metrics: [x], types: [%s], as: drop}]}}\n", word)).Entry("any")
		for _, other := range []dto.MetricType{0, 1, 2, 3, 4, 5} {
			dropped := e.Counters.Classes.Of(rules.Family{Name: "x", Type: other}).Class == rules.ClassDrop
			if dropped != (other == of) {
				t.Errorf("types: [%s]: a %s is dropped: %t", word, other, dropped)
			}
		}
	}
}

func TestEntriesThatSayTheSameShareTheirClasses(t *testing.T) {
	e := parse(t, "version: v1\njobs:\n- {job: a, owner: x}\n- {job: b, counters: {route: totals}}\n- {job: c, counters: {semantics: delta}}\n").Entries()
	if e[0].Counters.Classes != e[1].Counters.Classes || e[0].Counters.Classes != e[3].Counters.Classes {
		t.Error("entries with equal classes do not share them")
	}
	if e[0].Counters.Classes == e[2].Counters.Classes {
		t.Error("entries with unlike semantics share their classes")
	}
}

func TestFamilyPlace(t *testing.T) {
	p := parse(t, `version: v1
default:
  counters:
    families:
    - {metrics: [a], as: drop}
    - metrics: [b]
      as: snapshot
jobs:
- {job: own, counters: {families: [{metrics: [a], as: event}]}}
`)
	for _, test := range []struct {
		job, metric string
		want        int
	}{{"any", "a", 5}, {"any", "b", 6}, {"any", "c", 0}, {"own", "a", 9}, {"own", "b", 0}} {
		e := p.Entry(test.job)
		found := e.Counters.Classes.Of(rules.Family{Name: test.metric, Type: dto.MetricType_COUNTER})
		if got := e.FamilyPlace(found.Rule).Line; got != test.want {
			t.Errorf("%s of %s: line %d, want %d", test.metric, test.job, got, test.want)
		}
	}
	if got := p.Entry("any").FamilyPlace(3).Line; got != 0 {
		t.Errorf("no such family: line %d", got)
	}
}

// Families count towards the rules of a policy.
func TestCapOfFamilies(t *testing.T) {
	text := "version: v1\ndefault:\n  counters:\n    families:\n"
	for i := range 1000 {
		text += fmt.Sprintf("    - {metrics: [m%d], as: drop}\n", i)
	}
	text += "jobs:\n"
	for i := range 99 {
		text += fmt.Sprintf("- {job: j%d}\n", i)
	}
	parse(t, text)
	_, err := Parse("p", []byte(text+"- {job: last}\n"))
	if want := "p:5:5: the entries have more than 100000 rules together, inherited ones included"; err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}
