package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// clientProgram is a job of one client library; testdata/clients/README.md says
// what it pushes. Its run returns what the job's user sees, and whether the
// client took the push for good.
type clientProgram struct {
	name string
	run  func(t *testing.T, url, operation, job string, labels ...string) (string, bool)
	// refusal is what a user sees of a push that a rule refused.
	refusal string
	// runLabel is the grouping label that takes the run's id. client_golang takes
	// no label into the key that a metric has too.
	runLabel string
}

var clientPrograms = []clientProgram{
	{"python", program(world.PythonPath, world.Testdata("clients", "python", "push.py")), "HTTPError: HTTP Error 422: Unprocessable Entity", "run_id"},
	{"node", program("node", world.Testdata("clients", "node", "push.js")), "push failed with status 422, ", "run_id"},
	{"node with gzip", program("env", "GZIP=1", "node", world.Testdata("clients", "node", "push.js")), "push failed with status 422, ", "run_id"},
	{"curl", program(world.Testdata("clients", "curl", "push.sh")), "no-mails", "run_id"},
	{"go", goClient(expfmt.TypeProtoDelim), "unexpected status code 422 while pushing to", "dag_run_id"},
	{"go as text", goClient(expfmt.TypeTextPlain), "unexpected status code 422 while pushing to", "dag_run_id"},
}

// needClients skips or fails the test when what the programs run on is missing.
func needClients(t *testing.T) {
	t.Helper()
	for _, path := range []string{world.PythonPath, "node", "curl"} {
		world.Need(t, path)
	}
	if err := exec.Command(world.PythonPath, "-c", "import prometheus_client").Run(); err != nil {
		world.Missing(t, "python3-prometheus-client")
	}
	world.Need(t, world.Testdata("clients", "node", "node_modules", "prom-client", "package.json"))
}

func program(args ...string) func(*testing.T, string, string, string, ...string) (string, bool) {
	return func(t *testing.T, url, operation, job string, labels ...string) (string, bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		args := slices.Concat(args, []string{url, operation, job}, labels)
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return string(out), err == nil
	}
}

var runIDs = []string{"6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d", "b2f7d3b0-51a4-4f0e-8f43-7c1d2e3f4a5b"}

func loaded() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	rows := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "rows_total", Help: "Rows loaded."}, []string{"table", "run_id"})
	rows.WithLabelValues("orders", runIDs[0]).Add(3)
	rows.WithLabelValues("orders", runIDs[1]).Add(4)
	rows.WithLabelValues("users", runIDs[0]).Add(5)
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "load_seconds", Help: "Time of a load."}, []string{"run_id"})
	seconds.WithLabelValues(runIDs[0]).Observe(0.2)
	seconds.WithLabelValues(runIDs[0]).Observe(3)
	seconds.WithLabelValues(runIDs[1]).Observe(0.7)
	success := prometheus.NewGauge(prometheus.GaugeOpts{Name: "last_success_timestamp_seconds", Help: "When it last went well."})
	success.Set(1700000000)
	registry.MustRegister(rows, seconds, success)
	return registry
}

func offending() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	mails := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "mails", Help: "Mails sent."}, []string{"recipient"})
	mails.WithLabelValues("jane.doe@example.org").Set(1)
	registry.MustRegister(mails)
	return registry
}

func goClient(format expfmt.FormatType) func(*testing.T, string, string, string, ...string) (string, bool) {
	return func(_ *testing.T, url, operation, job string, labels ...string) (string, bool) {
		registry := loaded()
		if operation == "offend" {
			registry = offending()
		}
		p := push.New(url, job).Gatherer(registry).Format(expfmt.NewFormat(format))
		for _, l := range labels {
			name, value, _ := strings.Cut(l, "=")
			p.Grouping(name, value)
		}
		do := map[string]func() error{"push": p.Push, "offend": p.Push, "add": p.Add, "delete": p.Delete}[operation]
		if err := do(); err != nil {
			return err.Error(), false
		}
		return "ok", true
	}
}

// TestClients has each client push per-run labels, in the path and in the body,
// through the policy that pushguard ships: the labels are gone behind, the totals
// are what the job counted, and the job notices nothing.
func TestClients(t *testing.T) {
	t.Parallel()
	needClients(t)
	for _, c := range clientPrograms {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			audit := filepath.Join(t.TempDir(), "audit.jsonl")
			guard := world.Guard(t, world.GuardOptions{
				Upstream: behind,
				Policy:   world.Write(t, "policy.yml", shipped(t, "enforce\n  counters: {route: snapshot}")),
				Audit:    audit,
			})
			for _, operation := range []string{"push", "push", "add"} {
				if out, ok := c.run(t, guard.URL, operation, "nightly_load", c.runLabel+"="+runIDs[0], "zone=a"); !ok {
					t.Fatalf("%s: %s", operation, out)
				}
				holdLoaded(t, behind)
			}
			samples := guard.Scrape(t, "")
			if got := samples[`load_seconds_count{job="nightly_load", zone="a"}`]; got != 3 {
				t.Errorf("load_seconds_count %v, want 3", got)
			}
			if out, ok := c.run(t, guard.URL, "delete", "nightly_load", c.runLabel+"="+runIDs[0], "zone=a"); !ok {
				t.Fatalf("delete: %s", out)
			}
			world.Eventually(t, func() error {
				if s := behind.State(t); len(s) > 0 {
					return errors.New("the deleted group is still there")
				}
				return nil
			})
			world.Eventually(t, func() error { // the group is gone before that is written down
				if n := strings.Count(read(t, audit), "\n"); n < 4 {
					return fmt.Errorf("the audit log has %d lines, want 4", n)
				}
				return nil
			})
			holdAudit(t, audit, 4)
		})
	}
}

// holdAudit checks that an audit log has a line for each of so many changed
// pushes of nightly_load, and names the rule that took the run ids out.
func holdAudit(t *testing.T, path string, pushes int) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	if len(lines) != pushes {
		t.Errorf("the audit log has %d lines, want %d:\n%s", len(lines), pushes, content)
	}
	for _, line := range lines {
		var record struct {
			Time, Job, Owner, Method, Client, Mode, Policy, Outcome string
			Findings                                                []struct{ ID, Label string }
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if record.Time == "" || record.Job != "nightly_load" || record.Method == "" || record.Client == "" ||
			record.Owner == "" || record.Policy == "" || record.Mode != "enforce" || record.Outcome != "changed" {
			t.Errorf("the audit log lacks something: %s", line)
		}
		if len(record.Findings) == 0 || record.Findings[0].ID != "run-ids" {
			t.Errorf("the audit log does not name the rule run-ids: %s", line)
		}
	}
}

// holdLoaded checks what the client programs push, as it has to be behind the
// guard.
func holdLoaded(t *testing.T, behind *world.Process) {
	t.Helper()
	holdWithout(t, behind, "run_id")
	state := behind.State(t)
	g, found := state.Group(map[string]string{"job": "nightly_load", "zone": "a"})
	if !found || len(state) != 1 {
		t.Fatalf("groups %v, want one of job nightly_load and zone a", state.Keys())
	}
	rows := map[string]string{}
	for _, s := range g.Families["rows_total"].Series {
		m := series(t, s)
		rows[m.Labels["table"]] = m.Value
		if want := []string{"instance", "job", "table", "zone"}; !slices.Equal(slices.Sorted(maps.Keys(m.Labels)), want) {
			t.Errorf("rows_total has the labels %v, want %v", m.Labels, want)
		}
	}
	if diff := cmp.Diff(map[string]string{"orders": "7", "users": "5"}, rows); diff != "" {
		t.Errorf("rows_total (-want +got):\n%s", diff)
	}
	if got := g.Families["load_seconds"].Series; len(got) != 1 {
		t.Errorf("load_seconds has %d series, want 1: %v", len(got), got)
	} else if h := series(t, got[0]); h.Count != "3" || h.Buckets["1"] != "2" || !strings.HasPrefix(h.Sum, "3.9") {
		t.Errorf("load_seconds has count %s, sum %s and %s up to 1, want 3, 3.9 and 2", h.Count, h.Sum, h.Buckets["1"])
	}
	if got := g.Families["last_success_timestamp_seconds"].Series; len(got) != 1 {
		t.Errorf("last_success_timestamp_seconds has %d series, want 1: %v", len(got), got)
	}
}

// seriesJSON is one series of a world.Family.
type seriesJSON struct {
	Labels            map[string]string
	Value, Count, Sum string
	Buckets           map[string]string
}

func series(t *testing.T, raw string) seriesJSON {
	t.Helper()
	var s seriesJSON
	if err := json.Unmarshal([]byte(raw), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestClientsRefused checks what each client shows its user of a refusal, and
// that the next good push of the same job is taken.
func TestClientsRefused(t *testing.T) {
	t.Parallel()
	needClients(t)
	const noMails = "version: v1\ndefault:\n  mode: enforce\n  counters: {route: snapshot}\n  owner: data-eng\n  rules:\n" +
		"  - {id: runs, labels: [run_id], action: drop}\n  - {id: no-mails, shapes: [email], action: reject}\n"
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", noMails)})
	for _, c := range clientPrograms {
		t.Run(c.name, func(t *testing.T) {
			before := behind.State(t)
			out, ok := c.run(t, guard.URL, "offend", "nightly_load", "zone=a")
			if ok || !strings.Contains(out, c.refusal) {
				t.Errorf("the job sees %q (took it for good: %t), want %q", out, ok, c.refusal)
			}
			// What shows the body has to show the rule, the label and whom to ask;
			// Python shows its user no body.
			for _, word := range []string{"no-mails", "recipient", "data-eng"} {
				if c.name != "python" && !strings.Contains(out, word) {
					t.Errorf("the job does not see %q: %q", word, out)
				}
			}
			if strings.Contains(out, "jane.doe") {
				t.Errorf("the refusal repeats the address: %q", out)
			}
			behind.Unchanged(t, before)
			if out, ok := c.run(t, guard.URL, "push", "nightly_load", "zone=a"); !ok {
				t.Errorf("a good push: %s", out)
			}
			holdLoaded(t, behind)
		})
	}
}
