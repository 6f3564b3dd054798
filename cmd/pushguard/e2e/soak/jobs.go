package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// policyText is what the jobs of a soak run under. %d differs from reload to reload.
const policyText = `
version: v1
default:
  owner: soak
  mode: enforce
  limits: {label_limit: 8, sample_limit: %d}
  rules: [{id: run-ids, labels: [run_id], action: drop}]
  counters: {route: totals}
jobs:
- {job: sent.*, counters: {route: statsd}}
- {job: runs.*, budget: {groups: 10}, on_over_budget: evict_oldest}
`

// kept is how many groups of a job runs the policy keeps.
const kept = 10

// refusedJob begins the names of jobs of whose pushes nothing may stand.
const refusedJob = "refused"

// op is one push or delete, and what it does to the model once it is answered.
type op struct {
	method, path string
	body         string
	once         string // an Idempotency-Key, if there is one
	refused      bool   // it must be

	key      []string // of its group
	families map[string]page
	counts   page
	sends    page
	gone     string // the path of a group that the policy evicts for this one
}

// job makes one kind of op after another. It is of one goroutine, and the groups of its
// ops are its own, so that their order is that in which they were answered.
type job func() *op

// hand is the jobs of one worker, each as often as it is to have its turn.
func hand(worker int, statsd bool) []job {
	dice := rand.New(rand.NewPCG(uint64(worker), 1))
	snapshots := snapshotJob(fmt.Sprint("snap", worker), dice)
	counts := countJob(fmt.Sprint("counts", worker), dice, false)
	jobs := []job{
		snapshots, snapshots, snapshots, snapshots, snapshots, counts, counts,
		processJob(fmt.Sprint("process", worker), dice), loadJob(fmt.Sprint("loads", worker), dice),
		runJob(fmt.Sprint("runs", worker)), refusedOp(fmt.Sprint(refusedJob, worker), dice),
	}
	if statsd {
		jobs = append(jobs, countJob(fmt.Sprint("sent", worker), dice, true))
	}
	dice.Shuffle(len(jobs), func(i, k int) { jobs[i], jobs[k] = jobs[k], jobs[i] })
	return jobs
}

// gauge adds a family of one series to an op and to its body.
func (o *op) gauge(name string, value float64, pairs ...string) {
	o.body += fmt.Sprintf("# TYPE %s gauge\n%s%s %v\n", name, name, braces(pairs), value)
	if o.families == nil {
		o.families = map[string]page{}
	}
	o.families[name] = page{seriesID(name, append(pairs, o.key...)...): value}
}

func braces(pairs []string) string {
	parts := []string{}
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, fmt.Sprintf("%s=%q", pairs[i], pairs[i+1]))
	}
	if len(parts) == 0 {
		return ""
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func post(name string) *op {
	return &op{method: "POST", path: "/metrics/job/" + name, key: []string{"job", name}}
}

// snapshotJob writes groups: a PUT replaces one, a POST the families it brings, and a
// DELETE takes it away.
func snapshotJob(name string, dice *rand.Rand) job {
	return func() *op {
		instance := fmt.Sprint("i", dice.IntN(6))
		o := &op{
			method: []string{"PUT", "PUT", "PUT", "POST", "POST", "POST", "DELETE"}[dice.IntN(7)],
			path:   "/metrics/job/" + name + "/instance/" + instance,
			key:    []string{"job", name, "instance", instance},
		}
		if o.method == "DELETE" {
			return o
		}
		for i, which := range dice.Perm(5) {
			if i == 0 || dice.IntN(2) == 0 {
				o.gauge(fmt.Sprint("rows_", which), float64(dice.IntN(1e6)), "table", fmt.Sprint("t", dice.IntN(3)))
			}
		}
		return o
	}
}

// countJob pushes increments, which are told apart by their keys alone.
func countJob(name string, dice *rand.Rand, statsd bool) job {
	n := 0
	return func() *op {
		n++
		o := post(name)
		o.once = fmt.Sprint(name, "-", n)
		o.gauge("last_push", float64(n))
		by := float64(1 + dice.IntN(9))
		status := []string{"ok", "failed"}[dice.IntN(2)]
		counted := page{seriesID(name+"_done_total", "job", name, "status", status): by}
		o.body += fmt.Sprintf("# TYPE %s_done_total counter\n%s_done_total{status=%q} %v\n", name, name, status, by)
		if statsd {
			o.sends = counted
			return o
		}
		o.counts = counted
		o.histogram(name+"_seconds", by)
		return o
	}
}

// histogram adds so many observations of a second to the body and to what counts.
func (o *op) histogram(name string, n float64) {
	o.body += fmt.Sprintf("# TYPE %[1]s histogram\n%[1]s_bucket{le=\"0.5\"} 0\n%[1]s_bucket{le=\"1\"} %[2]v\n%[1]s_bucket{le=\"+Inf\"} %[2]v\n%[1]s_sum %[2]v\n%[1]s_count %[2]v\n", name, n)
	for le, by := range map[string]float64{"0.5": 0, "1.0": n, "+Inf": n} {
		o.counts[seriesID(name+"_bucket", append(o.key, "le", le)...)] = by
	}
	o.counts[seriesID(name+"_sum", o.key...)] = n
	o.counts[seriesID(name+"_count", o.key...)] = n
}

// processJob pushes a counter that grows, of processes that end and begin anew.
func processJob(name string, dice *rand.Rand) job {
	start, value := 1.7e9, 0.0
	return func() *op {
		if dice.IntN(20) == 0 {
			start, value = start+1, 0
		}
		by := float64(1 + dice.IntN(9))
		value += by
		o := post(name)
		o.method = "PUT"
		o.gauge("last_push", value)
		o.body += fmt.Sprintf("process_start_time_seconds %v\n# TYPE %[2]s_work_total counter\n%[2]s_work_total %[3]v\n", start, name, value)
		o.counts = page{seriesID(name+"_work_total", o.key...): by}
		return o
	}
}

// loadJob pushes a counter of a run of its own each time, whose name the policy drops.
func loadJob(name string, dice *rand.Rand) job {
	n := 0
	return func() *op {
		n++
		by := float64(1 + dice.IntN(9))
		o := post(name)
		o.gauge("last_push", float64(n))
		o.body += fmt.Sprintf("# TYPE %[1]s_rows_total counter\n%[1]s_rows_total{run_id=\"%[2]d\"} %[3]v\n", name, n, by)
		o.counts = page{seriesID(name+"_rows_total", o.key...): by}
		return o
	}
}

// runJob puts a group of its own each time, of which the newest are kept.
func runJob(name string) job {
	n := 0
	path := func(n int) string { return fmt.Sprintf("/metrics/job/%s/batch/%d", name, n) }
	return func() *op {
		n++
		o := &op{method: "PUT", path: path(n), key: []string{"job", name, "batch", fmt.Sprint(n)}, gone: path(n - kept)}
		o.gauge("state", float64(n))
		return o
	}
}

// refusedOp pushes what the policy or the protocol forbids.
func refusedOp(name string, dice *rand.Rand) job {
	return func() *op {
		o := post(name)
		o.refused = true
		o.body = "bad{a=\"1\",b=\"2\",c=\"3\",d=\"4\",e=\"5\",f=\"6\",g=\"7\",h=\"8\",i=\"9\"} 1\n"
		if dice.IntN(2) == 0 {
			o.body = "bad{a=\"1\"} nothing\n"
		}
		return o
	}
}
