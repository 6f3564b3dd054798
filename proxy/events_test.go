package proxy_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// eventPolicy has something to say in every kind of record.
const eventPolicy = `
version: v1
default: {mode: enforce, owner: platform}
jobs:
- job: airflow
  owner: data-eng
  rules:
  - {id: runs, labels: [run_id], action: event}
  - {id: hosts, labels: [host], action: drop}
  counters:
    families:
    - {metrics: [task_state, task_duration_seconds, notes], as: event}
- job: strict
  rules: [{id: uuids, shapes: [uuid], action: reject}]
- job: small
  budget: {series: 3}
- job: forecast
  mode: report
  rules: [{id: runs, labels: [run_id], action: event}]
- job: brief
  stale_after: 1h
`

// withEvents has a guard write its records to a file.
func withEvents(t testing.TB) (change func(*proxy.Config), records func() []event.Record) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	l, err := event.Open(event.Config{Targets: []event.Target{{URL: "file://" + path}}, Instance: "guard-1", FlushAt: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(stop)
	return func(cfg *proxy.Config) { cfg.Events = l }, func() []event.Record {
		t.Helper()
		stop()
		b, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		var out []event.Record
		for line := range strings.Lines(string(b)) {
			var r event.Record
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out = append(out, r)
		}
		return out
	}
}

// brief is what of a record a test compares, on one line.
func brief(r event.Record) string {
	words := []string{string(r.Kind), r.Reason}
	for _, w := range [][2]string{
		{"metric", r.Metric},
		{"label", r.Label},
		{"sample", r.ValueSample},
		{"dag", r.DagID},
		{"task", r.TaskID},
		{"run", r.RunID},
		{"state", r.State},
		{"error", r.ErrorMessage},
		{"group", r.Group},
	} {
		if w[1] != "" {
			words = append(words, w[0]+"="+w[1])
		}
	}
	if r.Value != nil {
		words = append(words, fmt.Sprint("value=", *r.Value))
	}
	if r.DurationSeconds != nil {
		words = append(words, fmt.Sprint("duration=", *r.DurationSeconds))
	}
	if r.HTTPStatus != 0 {
		words = append(words, fmt.Sprint("status=", r.HTTPStatus))
	}
	if r.SeriesLabels != nil {
		b, _ := json.Marshal(r.SeriesLabels)
		words = append(words, "series="+string(b))
	}
	return strings.Join(words, " ")
}

func TestEventsOfAPush(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		path, body string
		status     int
		want       []string
	}{
		"the state a task is in, and not those it is not in": {
			"airflow/dag_id/d/run_id/r1",
			`task_state{task_id="x",state="running"} 0` + "\n" + `task_state{task_id="x",state="failed",error_message="of bob@example.com"} 1`, 200,
			[]string{
				`task_state event_family metric=task_state dag=d task=x run=r1 state=failed error=of b…@… group={dag_id="d", job="airflow"} value=1`,
				`rewritten runs label=run_id sample=r1 group={dag_id="d", job="airflow"} series={"dag_id":"d","job":"airflow"}`,
			},
		},
		"how long it took": {
			"airflow", `task_duration_seconds{task_id="x",dag="d",state="ok"} 0`, 200,
			[]string{`task_state event_family metric=task_duration_seconds dag=d task=x state=ok group={job="airflow"} value=0 duration=0`},
		},
		"how long it took, in a histogram": {
			"airflow", "# TYPE task_duration_seconds histogram\n" + `task_duration_seconds_sum{task_id="x",dag="d",state="ok"} 42` + "\n" +
				`task_duration_seconds_count{task_id="x",dag="d",state="ok"} 1`, 200,
			[]string{`task_state event_family metric=task_duration_seconds dag=d task=x state=ok group={job="airflow"} value=42 duration=42`},
		},
		"the run of a summary, of a state that the task is in and of one that it is not": {
			"airflow", "# TYPE rows summary\n" + `rows_sum{task_id="x",run_id="r1",state="failed"} 7` + "\n" + `rows_count{task_id="x",run_id="r1",state="failed"} 2` + "\n" +
				`rows_sum{task_id="x",run_id="r1",state="ok"} 0` + "\n" + `rows_count{task_id="x",run_id="r1",state="ok"} 0`, 200,
			[]string{`task_state runs metric=rows task=x run=r1 state=failed group={job="airflow"} value=7 series={"job":"airflow","state":"failed","task_id":"x"}`},
		},
		"a label that leaves, joined to the series that stays": {
			"airflow", `rows{table="t",run_id="r1"} 5` + "\n" + `rows{table="u"} 6`, 200,
			[]string{`rewritten runs metric=rows run=r1 group={job="airflow"} value=5 series={"job":"airflow","table":"t"}`},
		},
		"a label that is dropped, once for all metrics": {
			"airflow", `rows{table="t",host="a"} 5` + "\n" + `rows{table="u",host="b"} 6`, 200,
			[]string{`rewritten hosts metric=rows label=host sample=a group={job="airflow"} series={"job":"airflow"}`},
		},
		"a snapshot whose value JSON cannot say": {
			"airflow", `notes{run_id="r1"} NaN`, 200,
			[]string{`snapshot event_family metric=notes run=r1 group={job="airflow"}`},
		},
		"a push that is refused": {
			"strict", `x{id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} 1`, 422,
			[]string{`rejected uuids metric=x label=id sample=6f1c6c1e… group={job="strict"} status=422`},
		},
		"a push that is none": {
			"strict", `x{`, 400, []string{`rejected protocol sample=text format parsing error in line 1: … group={job="strict"} status=400`},
		},
		"a push with a time, which the Pushgateway refuses": {
			"strict", `x 1 1700000000000`, 400, []string{`rejected inconsistent group={job="strict"} status=400`},
		},
		"more than there is room for": {
			"small", "a 1\nb 1\nc 1\nd 1\n", 200, []string{`budget series_budget metric=b group={job="small"}`},
		},
		"a job that is in report": {"forecast", `x{run_id="r1"} 1`, 200, nil},
		"nothing to tell":         {"airflow", `rows{table="t"} 5`, 200, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change, records := withEvents(t)
			g := newLiving(t, gatewaytest.Start(t), eventPolicy, change)
			g.push(t, tc.status, http.MethodPost, "/metrics/job/"+tc.path, tc.body+"\n")
			var got []string
			ids := map[event.ID]bool{}
			for _, r := range records() {
				got = append(got, brief(r))
				if ids[r.ID] || r.GuardInstance != "guard-1" || r.Job == "" || r.Time.IsZero() || r.Method != http.MethodPost || r.PushID == "" {
					t.Errorf("%+v", r)
				}
				ids[r.ID] = true
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEventsOfARetryAreTheSame(t *testing.T) {
	t.Parallel()
	change, records := withEvents(t)
	g := newLiving(t, gatewaytest.Start(t), eventPolicy, change)
	for _, key := range []string{"1", "1", "2", "", ""} {
		g.do(http.MethodPost, "/metrics/job/airflow", "notes{run_id=\"r1\"} 1\n", "Idempotency-Key", key)
	}
	var ids []event.ID
	for _, r := range records() {
		ids = append(ids, r.ID)
	}
	if len(ids) != 5 || ids[0] != ids[1] || ids[1] == ids[2] || ids[3] == ids[4] {
		t.Error(ids)
	}
}

// TestEventsUnderOneKey: an event log that takes each id once has all that pushes under one
// Idempotency-Key have to tell, also where the first was refused.
func TestEventsUnderOneKey(t *testing.T) {
	t.Parallel()
	change, records := withEvents(t)
	g := newLiving(t, gatewaytest.Start(t), eventPolicy, change)
	ids := map[event.ID]bool{}
	for _, push := range [][2]string{
		{http.MethodPost, `notes{run_id="6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d"} NaNaN`},
		{http.MethodPost, `notes{run_id="r1"} 1`},
		{http.MethodPost, `notes{run_id="r1"} 2`},
		{http.MethodPut, `notes{run_id="r1"} 2`},
		{http.MethodPost, `notes{run_id="r1"} 2`},
	} {
		g.do(push[0], "/metrics/job/airflow", push[1]+"\n", "Idempotency-Key", "load")
	}
	told := records()
	for _, r := range told {
		ids[r.ID] = true
	}
	if len(told) != 5 || len(ids) != 4 {
		t.Errorf("%d records have %d ids", len(told), len(ids))
	}
}

func TestEventOfASweep(t *testing.T) {
	t.Parallel()
	change, records := withEvents(t)
	g := newLiving(t, gatewaytest.Start(t), eventPolicy, change)
	g.inThePast(2*time.Hour, func() { g.push(t, 200, http.MethodPut, "/metrics/job/brief/dag_id/d/run_id/r1", "x 1\n") })
	stop := g.run(t)
	eventually(t, func() error {
		if strings.Contains(g.log.Take(), `"reason":"stale"`) {
			return nil
		}
		return errors.New("nothing is swept")
	})
	stop()
	var got []string
	for _, r := range records() {
		got = append(got, brief(r))
	}
	if !slices.Equal(got, []string{`swept stale dag=d run=r1 group={dag_id="d", job="brief", run_id="r1"}`}) {
		t.Error(got)
	}
}

// BenchmarkEvents is a push of 20 metrics, one label of each leaving as an event,
// without an event log, with one that takes everything, and with one that is dead.
func BenchmarkEvents(b *testing.B) {
	p, err := policy.Parse("bench", []byte(eventPolicy))
	if err != nil {
		b.Fatal(err)
	}
	var body strings.Builder
	for i := range 20 {
		fmt.Fprintf(&body, "rows{table=\"t%d\",run_id=\"r1\"} %d\n", i, i)
	}
	for _, bm := range []struct{ name, url string }{{"none", ""}, {"taken", "stdout:"}, {"dead", "loki+http://127.0.0.1:1"}} {
		b.Run(bm.name, func(b *testing.B) {
			cfg := proxy.Config{
				Policy: p, Upstream: upstreamAtOnce{}, Metrics: proxy.NewMetrics(prometheus.NewRegistry()),
				Caps:      proxy.Caps{Body: 1 << 20, Decoded: 4 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
				GroupWait: time.Second,
			}
			if bm.url != "" {
				cfg.Events, err = event.Open(event.Config{Targets: []event.Target{{URL: bm.url}}, Stdout: io.Discard, Drain: time.Millisecond})
				if err != nil {
					b.Fatal(err)
				}
				ctx, cancel := context.WithCancel(b.Context())
				var running sync.WaitGroup
				running.Go(func() { _ = cfg.Events.Run(ctx) })
				defer running.Wait()
				defer cancel()
			}
			g, err := proxy.New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				a := g.Push(b.Context(), proxy.Request{
					Method: http.MethodPost, Path: "/metrics/job/airflow", Header: http.Header{},
					Body: strings.NewReader(body.String()), Length: int64(body.Len()),
				})
				if a.Status != http.StatusOK {
					b.Fatalf("%d %s", a.Status, a.Body)
				}
			}
		})
	}
}
