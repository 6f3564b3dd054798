package policy

import (
	"os"
	"regexp"
	"strings"
	"testing"

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

// section returns what stands under a heading of docs/policy.md.
func section(t *testing.T, heading string) string {
	t.Helper()
	_, after, found := strings.Cut(read(t, "../docs/policy.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/policy.md has no section %q", heading)
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
	for _, test := range []struct{ section, header, wrong string }{
		{"Top level", "key", "{version: v1, ?: 1}"},
		{"Entry", "key", "{version: v1, jobs: [{job: a, ?: 1}]}"},
		{"Budgets", "key", "{version: v1, default: {budget: {?: 1}}}"},
		{"Limits", "key", "{version: v1, default: {limits: {?: 1}}}"},
		{"Rule", "key", "{version: v1, default: {rules: [{id: a, labels: [a], action: drop, ?: 1}]}}"},
		{"Rule", "action", "{version: v1, default: {rules: [{id: a, labels: [a], action: '?'}]}}"},
		{"Relabelling", "key", "{version: v1, default: {relabel_configs: [{?: 1}]}}"},
		{"Modes", "mode", "{version: v1, default: {mode: '?'}}"},
	} {
		got := firstColumn(t, section(t, test.section), test.header)
		if diff := cmp.Diff(accepted(t, strings.ReplaceAll(test.wrong, "?:", "'?':")), got); diff != "" {
			t.Errorf("%s: docs/policy.md against the code (-code +docs):\n%s", test.section, diff)
		}
	}
}

func TestDocsListTheShapes(t *testing.T) {
	text := section(t, "Shapes")
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
}
