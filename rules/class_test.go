package rules

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	dto "github.com/prometheus/client_model/go"
)

const (
	isCounter   = dto.MetricType_COUNTER
	isGauge     = dto.MetricType_GAUGE
	isHistogram = dto.MetricType_HISTOGRAM
	isSummary   = dto.MetricType_SUMMARY
	isUntyped   = dto.MetricType_UNTYPED
	isOther     = dto.MetricType_GAUGE_HISTOGRAM
)

func anyType() []dto.MetricType {
	return []dto.MetricType{isCounter, isGauge, isHistogram, isSummary, isUntyped, isOther}
}

// classesOf compiles a config that must be right.
func classesOf(t testing.TB, c ClassConfig) *Classes {
	t.Helper()
	out, err := CompileClasses(c)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Every row of the built-in table, for a family without siblings.
func TestBuiltInClasses(t *testing.T) {
	only := func(ts ...dto.MetricType) []dto.MetricType { return ts }
	for _, test := range []struct {
		types     []dto.MetricType
		names     string
		class     Class
		semantics Semantics
		reason    string
		lint      string
	}{
		// Runtimes, whatever they declare.
		{anyType(), "go_goroutines go_gc_duration_seconds python_info python_gc_objects_collected_total process_cpu_seconds_total jvm_memory_bytes_used " +
			"promhttp_metric_handler_requests_total scrape_duration_seconds up push_time_seconds push_failure_time_seconds go_x_created", ClassNoise, "", "a runtime's own", ""},
		{only(isGauge, isUntyped), "process_start_time_seconds", ClassEvidence, "", "tells one process from another", ""},
		{only(isCounter, isHistogram, isSummary), "process_start_time_seconds", ClassNoise, "", "a runtime's own", ""},
		// A declared type wins over the name.
		{only(isCounter), "x_total x failure_count row_count x_created x_bucket upload goals pushes", ClassCounter, Auto, "declared a counter", ""},
		{only(isHistogram), "x x_total x_created", ClassCounter, Auto, "declared a histogram", ""},
		{only(isSummary), "x x_total x_sum", ClassCounter, Auto, "declared a summary: its count and sum add up, its quantiles do not", ""},
		{only(isGauge), "x x_count failure_count x_bucket x_sum x_totals", ClassSnapshot, "", "declared a gauge", ""},
		{only(isGauge), "x_total spark_job_records_total _total", ClassSnapshot, "", "declared a gauge", GaugeNamedTotal},
		{only(isGauge, isUntyped), "x_created _created", ClassSnapshot, "", "*", ""},
		{only(isOther), "x x_total", ClassSnapshot, "", "of a type that does not add up", ""},
		// Without a type the name decides.
		{only(isUntyped), "x_total _total a_b_total", ClassCounter, Auto, "untyped, named as a total", ""},
		{only(isUntyped), "failure_count failures_count job_error_count errors_count x_exception_count exceptions_count retry_count retries_count " +
			"timeout_count timeouts_count success_count successes_count reject_count rejects_count drop_count drops_count start_count starts_count " +
			"completion_count completions_count a:b_failure_count", ClassCounter, Delta, "untyped, named as a count of events", ""},
		{only(isUntyped), "row_count records_count x_seconds x failure failure_counts nofailure_count failure_count_total_x count _count restart_count " +
			"FAILURE_count retrie_count x_sum x_bucket totals total", ClassSnapshot, "", "untyped, and not named as a counter", ""},
	} {
		for _, name := range strings.Fields(test.names) {
			for _, typ := range test.types {
				got := (&Classes{}).Of(Family{Name: name, Type: typ})
				want := Classified{Class: test.class, Semantics: test.semantics, Reason: test.reason, Lint: test.lint}
				if want.Reason == "*" {
					want.Reason = got.Reason
				}
				if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Classified{})); diff != "" {
					t.Errorf("%s %s (-want +got):\n%s", typ, name, diff)
				}
			}
		}
	}
}

// told writes the classes of a push a line each.
func told(families []Family, found []Classified) []string {
	out := make([]string, len(found))
	for i, c := range found {
		out[i] = fmt.Sprintf("%s %s: %s", strings.ToLower(families[i].Type.String()), families[i].Name, c.Class)
		for _, word := range []string{string(c.Semantics), c.Unit, c.Lint} {
			if word != "" {
				out[i] += " " + word
			}
		}
	}
	return out
}

func TestSiblingsDecide(t *testing.T) {
	bucket := func(name string) Family { return Family{Name: name, Type: isUntyped, Le: true} }
	for _, test := range []struct {
		what     string
		families []Family
		want     []string
	}{
		{"what python pushes", []Family{
			{Name: "x_total", Type: isCounter},
			{Name: "x_created", Type: isGauge},
			{Name: "h", Type: isHistogram},
			{Name: "h_created", Type: isGauge},
			{Name: "s", Type: isSummary},
			{Name: "s_created", Type: isGauge},
			{Name: "file_created", Type: isGauge},
		}, []string{
			"counter x_total: counter auto", "gauge x_created: evidence", "histogram h: counter auto", "gauge h_created: evidence",
			"summary s: counter auto", "gauge s_created: evidence", "gauge file_created: snapshot",
		}},
		{"a counter named without _total", []Family{{Name: "x_created", Type: isGauge}, {Name: "x", Type: isCounter}}, []string{"gauge x_created: evidence", "counter x: counter auto"}},
		{"only a counter is called x for x_total", []Family{{Name: "x_created", Type: isGauge}, {Name: "x_total", Type: isHistogram}}, []string{"gauge x_created: snapshot", "histogram x_total: counter auto"}},
		{"nor is one just before it", []Family{{Name: "x_total", Type: isHistogram}, {Name: "x_created", Type: isGauge}}, []string{"histogram x_total: counter auto", "gauge x_created: snapshot"}},
		{"nor what only begins with x", []Family{{Name: "x_loaded_total", Type: isCounter}, {Name: "x_created", Type: isGauge}}, []string{"counter x_loaded_total: counter auto", "gauge x_created: snapshot"}},
		{"a gauge did not begin", []Family{{Name: "x_created", Type: isGauge}, {Name: "x", Type: isGauge}, {Name: "x_total", Type: isUntyped}}, []string{
			"gauge x_created: snapshot", "gauge x: snapshot", "untyped x_total: counter auto",
		}},
		{"what is neither a gauge nor untyped tells no beginning", []Family{{Name: "x_created", Type: isSummary}, {Name: "x", Type: isCounter}}, []string{"summary x_created: counter auto", "counter x: counter auto"}},
		{"OpenMetrics, in which the sample of a counter has another name", []Family{
			{Name: "x", Type: isCounter},
			{Name: "x_total", Type: isUntyped},
			{Name: "x_created", Type: isUntyped},
			{Name: "h", Type: isHistogram},
			{Name: "h_created", Type: isUntyped},
			{Name: "y_total", Type: isUntyped},
			{Name: "y_created", Type: isUntyped},
		}, []string{
			"counter x: counter auto", "untyped x_total: counter auto", "untyped x_created: evidence",
			"histogram h: counter auto", "untyped h_created: evidence", "untyped y_total: counter auto", "untyped y_created: snapshot",
		}},
		{"created of what was created", []Family{{Name: "x_created", Type: isCounter}, {Name: "x_created_created", Type: isGauge}}, []string{"counter x_created: counter auto", "gauge x_created_created: evidence"}},
		{"an untyped histogram", []Family{bucket("x_bucket"), {Name: "x_sum", Type: isUntyped}, {Name: "x_count", Type: isUntyped}}, []string{
			"untyped x_bucket: counter auto x", "untyped x_sum: counter auto x", "untyped x_count: counter auto x",
		}},
		{"of failures", []Family{bucket("failure_bucket"), {Name: "failure_sum", Type: isUntyped}, {Name: "failure_count", Type: isUntyped}}, []string{
			"untyped failure_bucket: counter auto failure", "untyped failure_sum: counter auto failure", "untyped failure_count: counter auto failure",
		}},
		{"without le", []Family{{Name: "x_bucket", Type: isUntyped}, {Name: "x_sum", Type: isUntyped}, {Name: "x_count", Type: isUntyped}}, []string{
			"untyped x_bucket: snapshot", "untyped x_sum: snapshot", "untyped x_count: snapshot",
		}},
		{"without a sum", []Family{bucket("x_bucket"), {Name: "x_count", Type: isUntyped}}, []string{"untyped x_bucket: snapshot", "untyped x_count: snapshot"}},
		{"without a count", []Family{bucket("x_bucket"), {Name: "x_sum", Type: isUntyped}}, []string{"untyped x_bucket: snapshot", "untyped x_sum: snapshot"}},
		{"with a declared count", []Family{bucket("x_bucket"), {Name: "x_sum", Type: isUntyped}, {Name: "x_count", Type: isGauge}}, []string{
			"untyped x_bucket: snapshot", "untyped x_sum: snapshot", "gauge x_count: snapshot",
		}},
		{"without a name", []Family{bucket("_bucket"), {Name: "_sum", Type: isUntyped}, {Name: "_count", Type: isUntyped}}, []string{
			"untyped _bucket: snapshot", "untyped _sum: snapshot", "untyped _count: snapshot",
		}},
		{"names as long as they may be", []Family{
			{Name: strings.Repeat("x", 1000) + "_total", Type: isCounter},
			{Name: strings.Repeat("x", 1000) + "_created", Type: isGauge},
		}, []string{"counter " + strings.Repeat("x", 1000) + "_total: counter auto", "gauge " + strings.Repeat("x", 1000) + "_created: evidence"}},
	} {
		got := told(test.families, (&Classes{}).Push(test.families, nil))
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}

func TestRulesComeFirst(t *testing.T) {
	c := classesOf(t, ClassConfig{Semantics: Cumulative, Families: []FamilyRule{
		{Metrics: []string{"rows", "loaded_.*"}, Types: []dto.MetricType{isUntyped, isGauge}, As: ClassCounter, Semantics: Delta},
		{Metrics: []string{"loaded_.*"}, As: ClassEvent},
		{Metrics: []string{"last"}, As: ClassCounter, Semantics: Latest},
		{Metrics: []string{"by_evidence"}, As: ClassCounter, Semantics: Auto},
		{Metrics: []string{"go_.*|kept_created|h_sum"}, As: ClassDrop},
		{Metrics: []string{"plain_total"}, As: ClassSnapshot},
		{Metrics: []string{"as_the_entry"}, As: ClassCounter},
	}})
	families := []Family{
		{Name: "rows", Type: isGauge},
		{Name: "rows", Type: isCounter},
		{Name: "loaded_x", Type: isUntyped},
		{Name: "loaded_x", Type: isSummary},
		{Name: "last", Type: isCounter},
		{Name: "by_evidence", Type: isUntyped},
		{Name: "go_threads", Type: isGauge},
		{Name: "plain_total", Type: isCounter},
		{Name: "plain_created", Type: isGauge},
		{Name: "kept_total", Type: isCounter},
		{Name: "kept_created", Type: isGauge},
		{Name: "as_the_entry", Type: isGauge},
		{Name: "failure_count", Type: isUntyped},
		{Name: "h_bucket", Type: isUntyped, Le: true},
		{Name: "h_sum", Type: isUntyped},
		{Name: "h_count", Type: isUntyped},
	}
	want := []string{
		"gauge rows: counter delta", "counter rows: counter cumulative", "untyped loaded_x: counter delta", "summary loaded_x: event",
		"counter last: snapshot", "untyped by_evidence: counter auto", "gauge go_threads: drop", "counter plain_total: snapshot",
		"gauge plain_created: evidence", // of no use where it is no counter, but no metric either
		"counter kept_total: counter cumulative", "gauge kept_created: drop", "gauge as_the_entry: counter cumulative",
		"untyped failure_count: counter cumulative",
		"untyped h_bucket: snapshot", "untyped h_sum: drop", "untyped h_count: snapshot", // the rule took a part away
	}
	decided := []int{1, 0, 1, 2, 3, 4, 5, 6, 0, 0, 5, 7, 0, 0, 5, 0}
	for range 2 { // the second time from memory
		found := c.Push(families, nil)
		if diff := cmp.Diff(want, told(families, found)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		for i, f := range found {
			if f.Rule != decided[i] {
				t.Errorf("%s: rule %d decided, want %d", want[i], f.Rule, decided[i])
			}
		}
	}
}

func TestSemanticsOfAllCounters(t *testing.T) {
	families := []Family{
		{Name: "x_total", Type: isCounter},
		{Name: "failure_count", Type: isUntyped},
		{Name: "h_bucket", Type: isUntyped, Le: true},
		{Name: "h_sum", Type: isUntyped},
		{Name: "h_count", Type: isUntyped},
		{Name: "g", Type: isGauge},
		{Name: "x_created", Type: isGauge},
	}
	for semantics, want := range map[Semantics][]string{
		"":         {"counter auto", "counter delta", "counter auto h", "counter auto h", "counter auto h", "snapshot", "evidence"},
		Auto:       {"counter auto", "counter delta", "counter auto h", "counter auto h", "counter auto h", "snapshot", "evidence"},
		Cumulative: {"counter cumulative", "counter cumulative", "counter cumulative h", "counter cumulative h", "counter cumulative h", "snapshot", "evidence"},
		Delta:      {"counter delta", "counter delta", "counter delta h", "counter delta h", "counter delta h", "snapshot", "evidence"},
		Latest:     {"snapshot", "snapshot", "snapshot", "snapshot", "snapshot", "snapshot", "evidence"},
	} {
		got := told(families, classesOf(t, ClassConfig{Semantics: semantics}).Push(families, nil))
		for i := range got {
			_, got[i], _ = strings.Cut(got[i], ": ")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", semantics, diff)
		}
	}
}

func TestPushAppends(t *testing.T) {
	before := []Classified{{Class: ClassEvent}}
	got := (&Classes{}).Push([]Family{{Name: "x", Type: isCounter}, {Name: "x_created", Type: isGauge}}, before)
	if len(got) != 3 || got[0].Class != ClassEvent || got[1].Class != ClassCounter || got[2].Class != ClassEvidence {
		t.Errorf("got %+v", got)
	}
}

func TestClassFaults(t *testing.T) {
	_, err := CompileClasses(ClassConfig{Semantics: "sums", Families: []FamilyRule{
		{Metrics: []string{"a"}, As: ClassDrop},
		{},
		{Metrics: []string{"", "(", "a)|(b", "b"}, As: ClassNoise},
		{Metrics: []string{"a"}, As: ClassEvent, Semantics: Delta},
		{Metrics: []string{"a"}, As: ClassCounter, Semantics: "sums"},
	}})
	want := []string{
		`semantics: unknown semantics "sums": want auto, cumulative, delta or latest`,
		"rules[1]: as: as is missing: want counter, snapshot, event or drop",
		"rules[1]: metrics: metrics is missing: want patterns of family names",
		`rules[2]: as: unknown as "noise": want counter, snapshot, event or drop`,
		"rules[2]: metrics[0]: empty pattern: no family has an empty name",
		"rules[2]: metrics[1]: bad pattern: error parsing regexp: missing closing ): `(`",
		"rules[2]: metrics[2]: bad pattern: error parsing regexp: unexpected ): `a)|(b`",
		"rules[3]: semantics: semantics is for as: counter, not event",
		`rules[4]: semantics: unknown semantics "sums": want auto, cumulative, delta or latest`,
	}
	if err == nil {
		t.Fatal("accepted")
	}
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("no Faults: %v", err)
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

// What is remembered has an end, at it and over it, and is right before and after.
func TestKnownFamiliesAreBounded(t *testing.T) {
	c := classesOf(t, ClassConfig{Families: []FamilyRule{{Metrics: []string{"x_.*7"}, As: ClassDrop}}})
	for i := range 2*maxKnown + 10 {
		name := fmt.Sprintf("x_%d", i)
		want := ClassSnapshot
		if strings.HasSuffix(name, "7") {
			want = ClassDrop
		}
		for range 2 {
			if got := c.Of(Family{Name: name, Type: isGauge}); got.Class != want {
				t.Fatalf("%s: got %+v", name, got)
			}
		}
		if i < maxKnown && len(c.known) != i+1 || len(c.known) > maxKnown {
			t.Fatalf("after %d names %d are known", i+1, len(c.known))
		}
	}
	if len(c.known) != 10 {
		t.Errorf("%d are known", len(c.known))
	}
}

// The name of a family lives no longer than its push.
func TestKnownFamiliesOwnTheirNames(t *testing.T) {
	c := classesOf(t, ClassConfig{Families: []FamilyRule{{Metrics: []string{"abc"}, As: ClassDrop}}})
	body := []byte("abc")
	if got := c.Push([]Family{{Name: unsafe.String(&body[0], len(body)), Type: isGauge}}, nil); got[0].Class != ClassDrop {
		t.Fatalf("got %+v", got)
	}
	copy(body, "xyz")
	if got := c.Of(Family{Name: "abc", Type: isGauge}); got.Class != ClassDrop {
		t.Errorf("abc: got %+v", got)
	}
	if got := c.Of(Family{Name: "xyz", Type: isGauge}); got.Class != ClassSnapshot {
		t.Errorf("xyz: got %+v", got)
	}
}

func TestClassesAreSafeForConcurrentUse(t *testing.T) {
	c := classesOf(t, ClassConfig{Families: []FamilyRule{{Metrics: []string{"f.*_total"}, As: ClassSnapshot}}})
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 3000 {
				families := []Family{
					{Name: fmt.Sprintf("f%d_total", i+worker), Type: isCounter},
					{Name: "x", Type: isCounter},
					{Name: "x_created", Type: isGauge},
				}
				got := c.Push(families, nil)
				if got[0].Class != ClassSnapshot || got[1].Class != ClassCounter || got[2].Class != ClassEvidence {
					t.Errorf("got %+v", got)
					return
				}
			}
		})
	}
	all.Wait()
}

// Families of the alphabet's two letters, so that many are siblings.
func pushOf(data []byte) []Family {
	names := []string{"a", "b", "go_a", "failure"}
	suffixes := []string{"", "_total", "_created", "_bucket", "_sum", "_count", "_created_total", "_total_created"}
	var families []Family
	for ; len(data) > 1 && len(families) < 40; data = data[2:] {
		families = append(families, Family{
			Name: names[data[0]%4] + suffixes[data[0]/4%8],
			Type: dto.MetricType(data[1] % 7), // one that does not exist among them
			Le:   data[1]&0x80 != 0,
		})
	}
	return families
}

// What a family is follows from which others are there, not from their order, and
// is the same again; with rules and without.
func FuzzClasses(f *testing.F) {
	f.Add([]byte{4, 0, 8, 1, 12, 0x83, 16, 3, 20, 3}, "a_total")
	f.Add([]byte{0, 4, 8, 1}, "")
	f.Add([]byte{15, 0x83, 19, 3, 23, 3, 23, 1}, "\xff_created")
	builtIn := &Classes{}
	ruled := classesOf(f, ClassConfig{Semantics: Delta, Families: []FamilyRule{
		{Metrics: []string{"a_.*um", "b"}, As: ClassCounter},
		{Metrics: []string{".*_total"}, Types: []dto.MetricType{isGauge}, As: ClassDrop},
	}})
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		families := append(pushOf(data), Family{Name: name, Type: isUntyped}, Family{Name: name + "_created", Type: isGauge})
		for _, c := range []*Classes{builtIn, ruled} {
			want := c.Push(families, nil)
			mixed, random := slices.Clone(families), rand.New(rand.NewPCG(uint64(len(data)), 1))
			order := random.Perm(len(families))
			for i, from := range order {
				mixed[i] = families[from]
			}
			for i, got := range c.Push(mixed, nil) {
				if got != want[order[i]] {
					t.Fatalf("%+v is %+v, and %+v among the same in another order", mixed[i], want[order[i]], got)
				}
				if got.Class == "" || got.Reason == "" || (got.Class == ClassCounter) != (got.Semantics != "") || got.Semantics == Latest {
					t.Fatalf("%+v: %+v", mixed[i], got)
				}
				if got.Unit != "" && !strings.HasPrefix(mixed[i].Name, got.Unit+"_") {
					t.Fatalf("%+v: unit %q", mixed[i], got.Unit)
				}
			}
			if lone := c.Push(families[:1], nil)[0]; lone != c.Of(families[0]) {
				t.Fatalf("%+v alone: %+v", families[0], lone)
			}
		}
	})
}

func BenchmarkClasses(b *testing.B) {
	var python []Family
	for i := range 100 {
		name := fmt.Sprintf("service_component_%d_processed", i)
		python = append(python, Family{Name: name + "_total", Type: isCounter}, Family{Name: name + "_created", Type: isGauge})
	}
	var untyped []Family
	for i := range 200 {
		untyped = append(untyped, Family{Name: fmt.Sprintf("service_component_%d_rows", i), Type: isUntyped})
	}
	rules := ClassConfig{Families: []FamilyRule{
		{Metrics: []string{".*_(rows|records)_loaded", "x[0-9]+_y[0-9]+.*"}, As: ClassCounter},
		{Metrics: []string{"go_.*", "python_.*"}, As: ClassDrop},
	}}
	for _, bench := range []struct {
		name     string
		families []Family
		classes  *Classes
	}{
		{"untyped", untyped, &Classes{}},
		{"created", python, &Classes{}},
		{"rules/untyped", untyped, classesOf(b, rules)},
		{"rules/created", python, classesOf(b, rules)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			var found []Classified
			for b.Loop() {
				found = bench.classes.Push(bench.families, found[:0])
			}
		})
	}
}
