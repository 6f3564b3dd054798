package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/event/eventtest"
)

const eventsPolicy = `version: v1
default: {mode: enforce}
jobs:
- job: airflow
  owner: data-eng
  rules:
  - {id: runs, labels: [run_id, error_message], action: event}
  - {id: uuids, shapes: [uuid], action: reject}
  counters:
    families:
    - {metrics: [task_state], as: event}
`

// shippedQueries are the queries of a language in docs/events.md, in its order.
func shippedQueries(t *testing.T, language string) []string {
	t.Helper()
	doc, err := os.ReadFile(filepath.Join(world.Root(), "docs", "events.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(doc), -1) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	if len(out) != 3 {
		t.Fatalf("docs/events.md has %d queries in %s", len(out), language)
	}
	return out
}

// tellStory pushes what the shipped queries ask for.
func tellStory(t *testing.T, guard *world.Process) {
	t.Helper()
	push := func(want int, body string) {
		t.Helper()
		resp, err := http.Post(guard.URL+"/metrics/job/airflow", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Fatalf("status %d for %s", resp.StatusCode, body)
		}
	}
	task := func(task, run, state, more string) {
		push(200, fmt.Sprintf("task_state{dag_id=\"load_orders\",task_id=%q,run_id=%q,state=%q%s} 1\n", task, run, state, more))
		time.Sleep(1100 * time.Millisecond) // an old ClickHouse has whole seconds
	}
	task("extract", "scheduled__1", "running", "")
	task("extract", "scheduled__1", "failed", `,error_message="out of memory"`)
	task("extract", "scheduled__2", "success", "")
	task("load", "scheduled__2", "upstream_failed", `,error_message="no rows"`)
	push(422, `rows{id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} 1`+"\n")
}

// older makes the shipped table one of a ClickHouse of 2018.
func older(ddl string) string {
	for _, r := range [][2]string{
		{`(?m)^--.*\n`, ""},
		{`DateTime64\(9, 'UTC'\)`, "DateTime"},
		{`LowCardinality\(String\)`, "String"},
		{`(?m)^.*Map\(.*\n`, ""},
		{`(?m)^TTL.*\n`, ""},
		{`(?m)^SETTINGS.*;`, ""},
	} {
		ddl = regexp.MustCompile(r[0]).ReplaceAllString(ddl, r[1])
	}
	return ddl
}

// TestQuestionsToClickhouse asks a real one what docs/events.md says can be asked.
func TestQuestionsToClickhouse(t *testing.T) {
	t.Parallel()
	ch := eventtest.Clickhouse(t)
	ddl, err := os.ReadFile(filepath.Join(world.Root(), "deploy", "clickhouse.sql"))
	if err != nil {
		t.Fatal(err)
	}
	for statement := range strings.SplitSeq(older(string(ddl)), ";") {
		if strings.TrimSpace(statement) != "" {
			ch.Query(t, statement)
		}
	}
	guard := world.Guard(t, world.GuardOptions{
		Upstream: world.Pushgateway(t), Policy: world.Write(t, "policy.yml", eventsPolicy),
		Flags: []string{"--events.url=clickhouse+" + ch.URL + "/pushguard/events", "--events.flush-interval=50ms"},
	})
	tellStory(t, guard)
	want := []string{
		"failed\n",
		"airflow\tuuids\trows\tid\t6f1c6c1e…\n",
		"scheduled__1\textract\tout of memory\nscheduled__2\tload\tno rows\n",
	}
	for i, query := range shippedQueries(t, "sql") {
		// The time of a refusal, and its words, are not this test's.
		query = strings.Replace(strings.Replace(query, "SELECT ts, job", "SELECT job", 1), ", detail FROM", " FROM", 1)
		world.Eventually(t, func() error {
			if got := ch.Query(t, query); got != want[i] {
				return fmt.Errorf("%s\nanswers %q, want %q", query, got, want[i])
			}
			return nil
		})
	}
}

// TestQuestionsToLoki is the same of Loki, which make test-loki builds.
func TestQuestionsToLoki(t *testing.T) {
	if os.Getenv("PUSHGUARD_LOKI") != "1" {
		t.Skip("Loki is built by make loki and tested by make test-loki")
	}
	loki := eventtest.Loki(t)
	guard := world.Guard(t, world.GuardOptions{
		Upstream: world.Pushgateway(t), Policy: world.Write(t, "policy.yml", eventsPolicy),
		Flags: []string{"--events.url=loki+" + loki.URL, "--events.flush-interval=50ms"},
	})
	tellStory(t, guard)
	want := [][]string{
		{`"state":"failed"`, `"state":"running"`},
		{`"reason":"uuids"`},
		{"scheduled__2 load: no rows", "scheduled__1 extract: out of memory"},
	}
	for i, query := range shippedQueries(t, "logql") {
		world.Eventually(t, func() error {
			got := lokiLines(t, loki, query)
			if len(got) != len(want[i]) {
				return fmt.Errorf("%s\nanswers %q", query, got)
			}
			for n, line := range got {
				if !strings.Contains(line, want[i][n]) {
					return fmt.Errorf("%s\nanswers %q, want %q", query, got, want[i])
				}
			}
			return nil
		})
	}
}

// lokiLines are the lines that a query finds, the latest first.
func lokiLines(t *testing.T, loki *eventtest.Server, query string) []string {
	t.Helper()
	resp, err := http.Get(loki.URL + "/loki/api/v1/query_range?limit=100&since=1h&direction=backward&query=" + url.QueryEscape(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Values [][2]string `json:"values"`
			} `json:"result"`
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	var all [][2]string
	for _, r := range answer.Data.Result {
		all = append(all, r.Values...)
	}
	slices.SortFunc(all, func(a, b [2]string) int { return strings.Compare(b[0], a[0]) })
	var out []string
	for _, v := range all {
		out = append(out, v[1])
	}
	return out
}
