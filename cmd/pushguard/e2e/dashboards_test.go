package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// busyPolicy has something to show in every panel: jobs in report and enforced, with
// budgets, with groups that make room, with a rule that refuses, with events.
const busyPolicy = `version: v1
budget: {series: 1000}
default: {mode: enforce, owner: platform, stale_after: 1d, budget: {series: 200}}
jobs:
- {job: airflow, owner: data-eng, counters: {route: statsd}, rules: [{id: runs, labels: [run_id], action: event}]}
- {job: trial, owner: ml, mode: report}
- {job: crowded, owner: ml, budget: {series: 200, groups: 1}, on_over_budget: evict_oldest}
- {job: refused, owner: ml, rules: [{id: tokens, labels: [token], action: reject}]}
`

// airflowLines are what an Airflow with statsd_datadog_enabled sends.
var airflowLines = []string{
	"airflow.scheduler_heartbeat:1|c", "airflow.executor.queued_tasks:2|g", "airflow.executor.running_tasks:3|g",
	"airflow.executor.open_slots:29|g", "airflow.pool.starving_tasks:1|g|#pool_name:default_pool",
	"airflow.dag_processing.import_errors:1|g", "airflow.dagrun.schedule_delay:1500|ms|#dag_id:orders",
	"airflow.task_instances_without_heartbeats_killed:1|c",
}

// busy are the parts of a platform at work: the guard that the jobs push to, and beside it
// one of a fleet and one before several Pushgateways, with a spool.
type busy struct {
	guard, sharing, several, prometheus *world.Process
	exporter                            *statsdtest.Exporter
}

func startBusy(t *testing.T) *busy {
	t.Helper()
	exporter := statsdtest.Start(t, "--statsd.mapping-config="+filepath.Join(world.Root(), "deploy/airflow/statsd-mapping.tagged.yml"))
	dir := t.TempDir()
	guard := world.Guard(t, world.GuardOptions{
		Upstream: world.Pushgateway(t), Policy: world.Write(t, "policy.yml", busyPolicy), Audit: filepath.Join(dir, "audit.jsonl"),
		Flags: []string{
			"--statsd.address=" + exporter.Unixgram.String(), "--statsd.zero-hold=1s", "--state.dir=" + filepath.Join(dir, "state"),
			"--events.url=file://" + filepath.Join(dir, "events.jsonl"), "--sweep.interval=1s",
		},
	})
	owned := world.Write(t, "owned.yml", "version: v1\ndefault: {mode: enforce, owner: platform}\n")
	sharing := world.Guard(t, world.GuardOptions{Upstream: world.Pushgateway(t), Policy: owned, Flags: []string{"--state.url=" + redistest.Start(t).URL(), "--state.timeout=30s"}})
	several := world.Guard(t, world.GuardOptions{Upstream: world.Pushgateway(t), Policy: owned, Flags: []string{
		"--pushgateway.url=" + world.Pushgateway(t).URL, "--pushgateway.spool",
		"--state.dir=" + filepath.Join(dir, "several"), "--record.file=" + filepath.Join(dir, "pushes.jsonl"),
	}})
	prometheus := world.Prometheus(t, shippedScrapes(t, []*world.Process{guard, sharing, several}, exporter))
	b := &busy{guard, sharing, several, prometheus, exporter}
	world.Eventually(t, func() error {
		up, err := ask(t, b.prometheus, `sum(up) == 7`)
		if err != nil || len(up) == 0 {
			return errors.Join(err, errors.New("Prometheus has not scraped all yet"))
		}
		return nil
	})
	return b
}

// shippedScrapes is deploy/prometheus/prometheus.yml with the addresses of this test,
// and scrapes every half a second.
func shippedScrapes(t *testing.T, guards []*world.Process, exporter *statsdtest.Exporter) string {
	t.Helper()
	addresses := make([]string, len(guards))
	for i, g := range guards {
		addresses[i] = g.Addr
	}
	content, err := os.ReadFile(filepath.Join(world.Root(), "deploy/prometheus/prometheus.yml"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(
		"pushguard:9091", strings.Join(addresses, `", "`), "statsd-exporter:9102", exporter.Metrics.Host, "alertmanager:9093", "127.0.0.1:9",
		"scrape_interval: 15s", "scrape_interval: 500ms", "evaluation_interval: 15s", "evaluation_interval: 500ms",
		"rules/*.yml", filepath.Join(world.Root(), "deploy/prometheus/rules/*.yml"),
	).Replace(string(content))
}

// keepWorking goes on with rounds of work until it is told to rest: the panels show what
// was done within the last minute, and take as long to be asked as the machine needs. It
// has to rest before the test cleans up, which ends the connections of a push first.
func (b *busy) keepWorking(t *testing.T) (rest func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var rounds sync.WaitGroup
	rounds.Go(func() {
		for round := 0; ctx.Err() == nil; round++ {
			if err := b.work(t, round); err != nil {
				t.Error(err)
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(1200 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); rounds.Wait() }
}

// work is one round of what jobs do on a day, and what Airflow says meanwhile.
func (b *busy) work(t *testing.T, round int) error {
	now := time.Now().Unix()
	for _, push := range []struct {
		path, body string
		fails      bool
	}{
		{"airflow/dag_id/orders/task_id/load/run_id/r" + fmt.Sprint(round), fmt.Sprintf("airflow_task_state{state=\"running\"} 0\nairflow_task_state{state=\"failed\"} 1\n"+
			"airflow_task_last_duration_seconds 42\n# TYPE airflow_task_instances_total counter\n"+
			"airflow_task_instances_total{state=\"failed\"} 1\nairflow_task_instances_total{state=\"success\"} %d\n", round+1), false},
		{"import", fmt.Sprintf("# TYPE rows_processed_total counter\nrows_processed_total %d\njob_last_success_unixtime %d\njob_expected_interval_seconds 3600\n"+
			"# TYPE batch_duration_seconds histogram\nbatch_duration_seconds_bucket{le=\"10\"} 1\nbatch_duration_seconds_bucket{le=\"+Inf\"} 2\nbatch_duration_seconds_sum 60\nbatch_duration_seconds_count 2\n", 100*round, now-600), false},
		{"trial/run_id/" + fmt.Sprint(round), "rows 1\n", false},
		{"crowded/run_id/" + fmt.Sprint(round), "rows 1\n", false},
		{"refused", "rows{token=\"x\"} 1\n", true},
		{"broken", "# TYPE job_last_success_unixtime gauge\njob_last_success_unixtime 1\n", true}, // others have it untyped
	} {
		if a := b.guard.Push(t, "/metrics/job/"+push.path, push.body); push.fails == (a.Status == 200) {
			return fmt.Errorf("%s: %d %s", push.path, a.Status, a.Body)
		}
	}
	for _, other := range []*world.Process{b.sharing, b.several} {
		if a := other.Push(t, "/metrics/job/other", fmt.Sprintf("# TYPE other_total counter\nother_total %d\n", round+1)); a.Status != 200 {
			return fmt.Errorf("other: %d %s", a.Status, a.Body)
		}
	}
	cmd := exec.Command(world.Binary(t), "push", "--job=backup", "--url="+b.guard.URL, "--", "false")
	_ = cmd.Run() // it ends as the command does
	conn, err := net.Dial("unixgram", b.exporter.Unixgram.Path)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write([]byte(strings.Join(airflowLines, "\n")))
	return err
}

// board is what this test needs of a dashboard's file.
type board struct {
	Title  string
	Panels []struct {
		Title, Type string
		Targets     []struct {
			Expr         string
			LegendFormat string
			Instant      bool
			Exemplar     bool
		}
		FieldConfig struct {
			Defaults struct{ Links []struct{ URL string } }
		}
	}
	Templating struct {
		List []struct {
			Name, Type, AllValue, Definition string
		}
	}
}

func boards(t *testing.T) []board {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(world.Root(), "deploy/grafana/dashboards/*.json"))
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	out := make([]board, len(files))
	for i, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(content, &out[i]); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

var labelValuesOf = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// chosen replaces variables as Grafana does: several values become (a|b), All becomes
// allValue or all that there are; $__rate_interval is four scrapes and at least a
// minute here, where Grafana has 15 s for the least step.
type chosen map[string]string

func (c chosen) in(query string) string {
	for name, value := range c {
		query = strings.ReplaceAll(query, "$"+name, value)
	}
	return query
}

// choose takes All of every variable, but for owner if that is given.
func choose(t *testing.T, b board, prometheus *world.Process, owner string) chosen {
	t.Helper()
	c := chosen{"__rate_interval": "1m"}
	for _, v := range b.Templating.List {
		switch {
		case v.Type != "query":
		case v.Name == "owner" && owner != "":
			c[v.Name] = owner
		case v.AllValue != "":
			c[v.Name] = v.AllValue
		default:
			values := valuesOf(t, prometheus, c.in(v.Definition))
			c[v.Name] = "(" + strings.Join(values, "|") + ")"
		}
	}
	return c
}

func valuesOf(t *testing.T, prometheus *world.Process, definition string) []string {
	t.Helper()
	m := labelValuesOf.FindStringSubmatch(definition)
	if m == nil {
		t.Fatalf("not a query of a variable: %s", definition)
	}
	var reply struct{ Data []string }
	body := prometheus.Get(t, "/api/v1/label/"+m[2]+"/values?match[]="+url.QueryEscape(m[1])).Body
	if err := json.Unmarshal([]byte(body), &reply); err != nil || len(reply.Data) == 0 {
		t.Fatalf("%s has no values: %v, %s", definition, err, body)
	}
	return reply.Data
}

var (
	legendLabel = regexp.MustCompile(`\{\{(\w+)\}\}`)
	linkLabel   = regexp.MustCompile(`\$\{__(?:field\.labels|data\.fields)\.(\w+)\}`)
)

// TestEveryPanelShowsSomething has a platform at work and asks its Prometheus what
// Grafana would for each panel of both dashboards: each query returns series, with the
// labels that its legend and its links name.
func TestEveryPanelShowsSomething(t *testing.T) {
	t.Parallel()
	b := startBusy(t)
	defer b.keepWorking(t)()
	world.Eventually(t, func() error { return shown(t, b.prometheus, `pushguard_job_info{job="backup"}`, nil) })
	asked := 0
	for _, board := range boards(t) {
		all := choose(t, board, b.prometheus, "")
		for _, p := range board.Panels {
			for _, target := range p.Targets {
				asked++
				needed := legendLabel.FindAllStringSubmatch(target.LegendFormat, -1)
				for _, l := range p.FieldConfig.Defaults.Links {
					needed = append(needed, linkLabel.FindAllStringSubmatch(l.URL, -1)...)
				}
				t.Run(board.Title+"/"+p.Title, func(t *testing.T) {
					query := all.in(target.Expr)
					if strings.Contains(query, "$") {
						t.Fatalf("a variable is left in %s", query)
					}
					world.Eventually(t, func() error { return shown(t, b.prometheus, query, needed) })
				})
			}
		}
	}
	t.Run("owners choose their jobs", func(t *testing.T) { ownersChooseTheirJobs(t, b) })
	t.Run("links lead to the console", func(t *testing.T) { linksLeadToTheConsole(t, b) })
	t.Run("promtool takes the guard's own page", func(t *testing.T) { promtoolTakesTheGuardsOwnPage(t, b) })
	if asked < 95 {
		t.Errorf("only %d queries were asked", asked)
	}
}

// shown asks and returns why a panel would be empty or its labels would not be there.
func shown(t *testing.T, prometheus *world.Process, query string, needed [][]string) error {
	series, err := ask(t, prometheus, query)
	if err != nil {
		return err
	}
	values := 0
	for _, s := range series {
		if s["="] != "NaN" {
			values++
		}
		for _, label := range needed {
			if _, ok := s[label[1]]; !ok {
				return fmt.Errorf("%s: no label %s in %v", query, label[1], s)
			}
		}
	}
	if values == 0 {
		return errors.Join(errors.New("nothing is shown of "+query), fmt.Errorf("of %d series", len(series)))
	}
	return nil
}

// ownersChooseTheirJobs: a choice of an owner leaves that owner's jobs, in the
// variable and in the panels.
func ownersChooseTheirJobs(t *testing.T, b *busy) {
	for _, board := range boards(t) {
		world.Eventually(t, func() error {
			if jobs := choose(t, board, b.prometheus, "ml")["job"]; jobs != "(crowded|refused|trial)" {
				return errors.New(jobs)
			}
			return nil
		})
		got, err := ask(t, b.prometheus, choose(t, board, b.prometheus, "ml").in(`group by (job) (pushguard_pushes_total{job=~"$job"})`))
		if err != nil || len(got) != 3 {
			t.Errorf("%s: %v, %v", board.Title, got, err)
		}
	}
}

// promtoolTakesTheGuardsOwnPage lints what a guard at work says of itself.
func promtoolTakesTheGuardsOwnPage(t *testing.T, b *busy) {
	world.Need(t, world.PromtoolPath)
	cmd := exec.Command(world.PromtoolPath, "check", "metrics")
	cmd.Stdin = strings.NewReader(b.guard.Get(t, "/guard/metrics").Body)
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

// linksLeadToTheConsole follows the links of panels to the guard at work.
func linksLeadToTheConsole(t *testing.T, b *busy) {
	followed := map[string]bool{}
	for _, board := range boards(t) {
		for _, p := range board.Panels {
			for _, l := range p.FieldConfig.Defaults.Links {
				path, console := strings.CutPrefix(linkLabel.ReplaceAllString(l.URL, "airflow"), "${console}")
				if !console || followed[path] {
					continue
				}
				followed[path] = true
				if a := b.guard.Get(t, path); a.Status != 200 || !strings.Contains(a.Body, "airflow") {
					t.Errorf("%s: %d", path, a.Status)
				}
			}
		}
	}
	if len(followed) == 0 {
		t.Error("no link leads to the console")
	}
}
