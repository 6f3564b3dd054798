package policy

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
)

func TestTestsAreCompiled(t *testing.T) {
	seven, none := 7, 0
	p := parse(t, `version: v1
tests:
- name: one
  job: a
  push: m 1
  want: {findings: [b, a, a], left: {series: 7, groups: 0}, metrics: "", answer: x}
- name: several
  start: 2030-05-05
  job: a
  at: 1h
  headers: {X-A: "1"}
  method: POST
  pushes:
  - {push: "m 1\n"}
  - {at: 2h, job: b, grouping: {x: y, w: ""}, headers: {}, method: PUT, push: "", want: {group: {job: b}}}
  - {method: DELETE}
  - {want: {page: 'm{b="1",a=""} 2'}}
`)
	want := []Test{
		{Name: "one", File: "policy.yml", Line: 3, Start: firstDay(), Steps: []TestStep{{
			Line: 3, Method: "PUT", Job: "a", Header: http.Header{}, Body: "m 1\n",
			Want: TestWant{Findings: []string{"a", "b"}, Metrics: []string{}, SeriesLeft: &seven, GroupsLeft: &none, Answer: "x"},
		}}},
		{Name: "several", File: "policy.yml", Line: 7, Start: time.Date(2030, 5, 5, 0, 0, 0, 0, time.UTC), Steps: []TestStep{
			{Line: 14, At: time.Hour, Method: "POST", Job: "a", Header: http.Header{"X-A": {"1"}}, Body: "m 1\n"},
			{
				Line: 15, At: 2 * time.Hour, Method: "PUT", Job: "b", Header: http.Header{},
				Grouping: []labels.Label{{Name: "x", Value: "y"}, {Name: "w"}}, Want: TestWant{Group: map[string]string{"job": "b"}},
			},
			{Line: 16, At: 2 * time.Hour, Method: "DELETE", Job: "a", Header: http.Header{"X-A": {"1"}}},
			{Line: 17, At: 2 * time.Hour, Job: "a", Header: http.Header{"X-A": {"1"}}, Want: TestWant{Page: []string{`m{b="1"} 2`}}},
		}},
	}
	if diff := cmp.Diff(want, p.Tests(), cmp.Transformer("path", filepath.Base), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestParseSeries(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "", []string{}},
		{"sorted, labels too", "b{y=\"1\",x=\"2\"} 1e3\n# HELP a b\na 0.50", []string{"a 0.5", `b{x="2",y="1"} 1000`}},
		{"an empty label is none", `a{x="",y="z"} NaN`, []string{`a{y="z"} NaN`}},
		{"bounds, whatever the TYPE", "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\nb{le=\"2.50\",quantile=\"0.50\"} 1", []string{`a_bucket{le="+Inf"} 1`, `a_bucket{le="1"} 1`, `b{le="2.5",quantile="0.5"} 1`}},
		{"all labels empty", `a{x=""} +Inf`, []string{`a +Inf`}},
		{"what must be escaped, and what need not be", `a{x="\", ",y="é	"} 1`, []string{`a{x="\", ",y="é	"} 1`}},
		{"escapes", `a{x="\"\\\n, "} 1`, []string{`a{x="\"\\\n, "} 1`}},
		{"a name in UTF-8", `{"a.b",x="y"} 1`, []string{`{"a.b",x="y"} 1`}},
		{"a name in UTF-8 alone", `{"a.b"} 1`, []string{`{"a.b"} 1`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := ParseSeries(tc.text)
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got)\n%s", err, diff)
			}
		})
	}
}

func TestParseSeriesRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"no text format", "a{", "not the text format: "},
		{"a timestamp", "a 1 1000", "series a has a timestamp"},
		{"a series twice", "a{b=\"\"} 1\na 2", "series a comes twice"},
	} {
		if _, err := ParseSeries(tc.text); err == nil || !strings.HasPrefix(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %s", tc.name, err, tc.want)
		}
	}
}

// What ParseSeries returns is the text format again, and means the same.
func FuzzParseSeries(f *testing.F) {
	f.Add("a{b=\"c\",d=\"\"} 1\n# TYPE a counter\na 2")
	f.Add(`{"a.b",x="y, \"z\""} NaN`)
	f.Add("a_bucket{le=\"+Inf\"} 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		once, err := ParseSeries(text)
		if err != nil {
			return
		}
		again, err := ParseSeries(strings.Join(once, "\n"))
		if err != nil || !slices.Equal(once, again) {
			t.Errorf("%q became %q, %v", once, again, err)
		}
	})
}

func TestLoadTests(t *testing.T) {
	dir := t.TempDir()
	for _, tc := range []struct{ name, text, policy string }{
		{"jobs_test.yml", "{version: v1, tests: []}", "jobs.yml"},
		{"jobs_test.yaml", "{version: v1, tests: []}", "jobs.yaml"},
		{"other_test.yml", "{version: v1, policy: ../x/jobs.yml, tests: []}", "../x/jobs.yml"},
	} {
		file := filepath.Join(dir, tc.name)
		if err := os.WriteFile(file, []byte(tc.text), 0o600); err != nil {
			t.Fatal(err)
		}
		policy, tests, err := LoadTests(file)
		if err != nil || policy != filepath.Join(dir, tc.policy) || len(tests) != 0 {
			t.Errorf("%s: %s, %v, %v", tc.name, policy, tests, err)
		}
	}
	_, _, err := parseTests("a_test.yml", []byte("{version: v2, default: {}}"))
	want := "a_test.yml:1:1: tests is missing: want a list of tests\n" +
		"a_test.yml:1:11: unknown version \"v2\": want v1\n" +
		"a_test.yml:1:15: unknown key \"default\": want version, policy or tests"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestIsTestFile(t *testing.T) {
	for name, want := range map[string]bool{
		"policy_test.yml": true, "a/b_test.yaml": true, "policy.yml": false, "test.yml": false, "a_test.yml.bak": false,
	} {
		if IsTestFile(name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}

func FuzzParseTests(f *testing.F) {
	f.Add([]byte("version: v1\ntests:\n- {name: a, job: a, push: b 1, want: {metrics: b 1}}\n"))
	f.Add([]byte("version: v1\npolicy: x\ntests: [{name: a, pushes: [{at: 1h, want: {page: ''}}]}]"))
	f.Add([]byte("tests: [{pushes: [], want: {}, push: 7}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, tests, err := parseTests("a_test.yml", data)
		for _, x := range tests {
			if err == nil && (x.Name == "" || len(x.Steps) == 0) {
				t.Errorf("%+v", x)
			}
		}
	})
}
