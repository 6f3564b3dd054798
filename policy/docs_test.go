package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/rules"
)

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// section returns what stands under a heading of a page in docs.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(read(t, "../docs/"+page), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/%s has no section %q", page, heading)
	}
	text, _, _ := strings.Cut(after, "\n## ")
	return text
}

// firstColumn returns the words in the first column of the table that begins
// with the given header.
func firstColumn(t *testing.T, text, header string) []string {
	t.Helper()
	_, table, found := strings.Cut(text, "| "+header+" |")
	if !found {
		t.Fatalf("no table of %s", header)
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var words []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(table, -1) {
		words = append(words, m[1])
	}
	return words
}

// accepted returns the words that a message lists for one that is wrong.
func accepted(t *testing.T, policy string) []string {
	t.Helper()
	_, err := Parse("p", []byte(policy))
	if err == nil {
		t.Fatalf("accepted: %s", policy)
	}
	list := err.Error()[strings.LastIndex(err.Error(), "want ")+len("want "):]
	return strings.FieldsFunc(strings.ReplaceAll(list, " or ", ","), func(r rune) bool { return r == ',' || r == ' ' })
}

func TestDocsListWhatIsAccepted(t *testing.T) {
	for _, test := range []struct{ page, section, header, wrong string }{
		{"policy-reference.md", "Top level", "key", "{version: v1, ?: 1}"},
		{"policy-reference.md", "Entry", "key", "{version: v1, jobs: [{job: a, ?: 1}]}"},
		{"policy-reference.md", "budget", "key", "{version: v1, default: {budget: {?: 1}}}"},
		{"policy-reference.md", "entry_budget", "key", "{version: v1, default: {entry_budget: {?: 1}}}"},
		{"policy-reference.md", "Guard's budget", "key", "{version: v1, budget: {?: 1}}"},
		{"policy.md", "Over budget", "word", "{version: v1, default: {on_over_budget: '?'}}"},
		{"policy-reference.md", "counters", "key", "{version: v1, default: {counters: {?: 1}}}"},
		{"policy-reference.md", "families", "key", "{version: v1, default: {counters: {families: [{?: 1}]}}}"},
		{"policy-reference.md", "limits", "key", "{version: v1, default: {limits: {?: 1}}}"},
		{"policy-reference.md", "rules", "key", "{version: v1, default: {rules: [{id: a, labels: [a], action: drop, ?: 1}]}}"},
		{"policy.md", "Rule", "action", "{version: v1, default: {rules: [{id: a, labels: [a], action: '?'}]}}"},
		{"policy-reference.md", "relabel_configs", "key", "{version: v1, default: {relabel_configs: [{?: 1}]}}"},
		{"policy-reference.md", "pushes", "key", "{version: v1, tests: [{name: a, job: a, pushes: [{push: '', want: {status: 200}, ?: 1}]}]}"},
		{"policy-reference.md", "want", "key", "{version: v1, tests: [{name: a, job: a, push: '', want: {status: 200, ?: 1}}]}"},
		{"policy-reference.md", "left", "key", "{version: v1, tests: [{name: a, job: a, push: '', want: {left: {?: 1}}}]}"},
		{"policy.md", "Modes", "mode", "{version: v1, default: {mode: '?'}}"},
	} {
		got := firstColumn(t, section(t, test.page, test.section), test.header)
		if diff := cmp.Diff(accepted(t, strings.ReplaceAll(test.wrong, "?:", "'?':")), got); diff != "" {
			t.Errorf("docs/%s: %s against the code (-code +docs):\n%s", test.page, test.section, diff)
		}
	}
}

func TestDocsListTheShapes(t *testing.T) {
	text := section(t, "policy.md", "Shapes")
	if diff := cmp.Diff(rules.ShapeNames(), firstColumn(t, text, "shape")); diff != "" {
		t.Errorf("docs/policy.md against the code (-code +docs):\n%s", diff)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `(.+)` \\| `(.+)` \\| `(.+)` \\|$").FindAllStringSubmatch(text, -1) {
		if name, normal, _ := rules.Shape("pod", row[2]); name != row[1] || normal != row[3] {
			t.Errorf("docs/policy.md: %s: %s is a %q and becomes %q, not %q", row[1], row[2], name, normal, row[3])
		}
	}
}

func TestDocsExamplesAreAccepted(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(read(t, "../docs/policy.md"), -1)
	if len(blocks) < 3 {
		t.Fatalf("only %d yaml blocks in docs/policy.md", len(blocks))
	}
	for _, block := range blocks {
		if _, err := Parse("docs/policy.md", []byte(block[1])); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
		}
	}
}

// The name of one run ends a job's name in more ways than one.
func TestExampleFoldsJobs(t *testing.T) {
	p, err := Load("../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	for job, want := range map[string]string{
		"spark_jobs_x_application_1690000000000_0001": "spark_jobs_x",
		"load-3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a":   "load",
		"export_20260101":                      "export",
		"export_20260101_1690000000":           "export",
		"sensor-etl-8f3a91b2c4d5e6f7-driver":   "sensor-etl-driver",
		"etl-nightly-28412345-x2k9z":           "etl-nightly",
		"application_1690000000000_0001":       "application",
		"3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a": "<uuid>",
		"nightly_load":                         "nightly_load",
		"orders_2024":                          "orders_2024",
		"etl-version2":                         "etl-version2",
		"proxy-h2c4z":                          "proxy-h2c4z",
		"release-1.2.3":                        "release-1.2.3",
		"":                                     "",
	} {
		if got := p.FoldJob(job); got != want {
			t.Errorf("job %q is folded to %q, want %q", job, got, want)
		}
	}
}

func TestExampleEnforces(t *testing.T) {
	p, err := Load("../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	if e := p.Entry("anything"); e.Mode != Enforce || e.Owner != "platform" {
		t.Errorf("got %+v", e)
	}
}

// Nothing the example lets in is without an end.
func TestExampleBoundsEverything(t *testing.T) {
	p, err := Load("../deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	e := p.Entry("anything")
	b, _ := e.Budget(time.Now())
	want := Budget{Series: 2000, Groups: 200, NewSeriesPerHour: 2000, NewSeriesPerDay: 6000, LabelValues: 200, PushesPerMinute: 6000}
	if b != want || e.EntryJobs != 1000 || e.EntryNewJobsPerDay != 500 || p.SeriesBudget() != 100_000 || p.GroupsBudget() != 20_000 {
		t.Errorf("got %+v, %d jobs, %d new a day, %d series, %d groups", b, e.EntryJobs, e.EntryNewJobsPerDay, p.SeriesBudget(), p.GroupsBudget())
	}
	if e.StaleAfter != 7*24*time.Hour || !e.KeepLastSuccess {
		t.Errorf("got %+v", e)
	}
}

// The entries that the example holds behind # must be right, too.
func TestExampleUncommented(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#(jobs:|- |  )`).ReplaceAllString(read(t, "../deploy/policy.example.yml"), "$1")
	p := parse(t, text)
	if got := p.Entry("nightly_load").Owner; got != "data-eng" {
		t.Errorf("nightly_load is owned by %q", got)
	}
	if got := p.Entry("ml_train").Mode; got != Report {
		t.Errorf("ml_train is in mode %q", got)
	}
	keepsRuns(t, p.Entry("airflow_state"))
}

// keepsRuns holds an entry to what a group for every run needs: the name of the
// run in the grouping key, and an end.
func keepsRuns(t *testing.T, e *Entry) {
	t.Helper()
	if b, _ := e.Budget(day(2026, 1, 1)); b.Groups != 50 || b.NewSeriesPerHour < 50*100 {
		t.Errorf("%s: budget %+v", e.Name, b)
	}
	if e.OnOverBudget != EvictOldest || e.StaleAfter != 6*time.Hour || !e.KeepLastSuccess || e.Mode != Enforce {
		t.Errorf("%s: got %+v", e.Name, e)
	}
	for _, run := range []string{"manual__2026-01-01T00:00:00+00:00", "7", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", "application_1690000000000_0001"} {
		if got := judgeOne(t, e, "run_id", run); got != run {
			t.Errorf("%s: run_id %q became %q", e.Name, run, got)
		}
	}
	for _, label := range []string{"try_number", "map_index", "pod", "user"} {
		if got := judgeOne(t, e, label, "3"); got != gone {
			t.Errorf("%s: %s stays as %q", e.Name, label, got)
		}
	}
}

func TestRunSnapshotsKeepRunsAndEndThem(t *testing.T) {
	p, err := Load("../deploy/policy.run-snapshots.yml")
	if err != nil {
		t.Fatal(err)
	}
	e := p.Entry("airflow_state")
	keepsRuns(t, e)
	if e.Counters.Route != RouteSnapshot {
		t.Errorf("counters go to %s", e.Counters.Route)
	}
	other := p.Entry("anything")
	if got := judgeOne(t, other, "run_id", "7"); got != gone {
		t.Errorf("default keeps run_id %q", got)
	}
	if other.StaleAfter != 7*24*time.Hour || other.OnOverBudget != Trim || other.EntryJobs == 0 || other.EntryNewJobsPerDay == 0 {
		t.Errorf("default: got %+v", other)
	}
}
