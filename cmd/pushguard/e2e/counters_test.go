package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// countPolicy adds counters up under labels that no longer tell runs and tasks
// apart. Job cumulative is the remedy for shell jobs that push running totals.
const countPolicy = `version: v1
default:
  mode: enforce
  rules:
  - {id: runs, labels: [run_id, app_id, task_id, map_index], action: drop}
jobs:
- job: cumulative
  counters: {semantics: cumulative}
`

// vias are the ways of increments: the guard's own totals, and each transport.
var vias = []string{"totals", "udp", "tcp", "unixgram"}

// counts is a guard that adds counters up in front of a Pushgateway, and where
// the sums are read.
type counts struct {
	guard, behind *world.Process
	exporter      *statsdtest.Exporter // nil where the sums are the guard's totals
}

// startCounts starts a guard whose increments go that way, held for so long.
func startCounts(t *testing.T, via, hold string) *counts {
	t.Helper()
	c := &counts{behind: world.Pushgateway(t)}
	var flags []string
	if via != "totals" {
		c.exporter = statsdtest.Start(t)
		flags = []string{"--statsd.address=" + c.socket(via), "--statsd.zero-hold=" + hold}
	}
	c.guard = world.Guard(t, world.GuardOptions{Upstream: c.behind, Policy: world.Write(t, "policy.yml", countPolicy), Flags: flags})
	return c
}

func (c *counts) socket(via string) string {
	return map[string]*url.URL{"udp": c.exporter.UDP, "tcp": c.exporter.TCP, "unixgram": c.exporter.Unixgram}[via].String()
}

// sum adds up what is exposed of a counter of one job.
func (c *counts) sum(t *testing.T, name, job string) float64 {
	t.Helper()
	var samples map[string]float64
	if c.exporter != nil {
		samples = c.exporter.Counters(t)
	} else {
		samples = c.guard.Scrape(t, "")
	}
	total := 0.0
	for series, value := range samples {
		if strings.HasPrefix(series, name+"{") && strings.Contains(series, fmt.Sprintf("job=%q", job)) {
			total += value
		}
	}
	return total
}

// want waits until a counter has come to a sum.
func (c *counts) want(t *testing.T, job string, want float64) {
	t.Helper()
	world.Eventually(t, func() error {
		if got := c.sum(t, "work_total", job); got != want {
			return fmt.Errorf("job %s: work_total %v, want %v", job, got, want)
		}
		return nil
	})
}

// own is a metric of the guard itself, summed over the series that have all words.
func own(t *testing.T, guard *world.Process, name string, words ...string) float64 {
	t.Helper()
	total := 0.0
	for line := range strings.Lines(guard.Get(t, "/guard/metrics").Body) {
		if rest, ok := strings.CutPrefix(line, name); !ok || rest[0] != '{' && rest[0] != ' ' {
			continue
		}
		matches := true
		for _, w := range words {
			matches = matches && strings.Contains(line, w)
		}
		var value float64
		if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &value); err == nil && matches {
			total += value
		}
	}
	return total
}

// countWith runs a program of testdata/clients that counts.
func countWith(t *testing.T, program, url, job string, args ...string) {
	t.Helper()
	words := map[string][]string{
		"python": {world.PythonPath, world.Testdata("clients", "python", "count.py")},
		"node":   {"node", world.Testdata("clients", "node", "count.js")},
	}[program]
	words = append(append(words, url, job), args...)
	if out, err := exec.CommandContext(t.Context(), words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
}

// curl pushes a body as a shell job does.
func curl(t *testing.T, url, path, body string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "curl", append(args, "-sS", "--fail-with-body", "--data-binary", "@-", url+path)...)
	cmd.Stdin = strings.NewReader(body)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("curl %s: %v\n%s", path, err, out)
	}
}

// goJob counts with client_golang: one counter, pushed again and again.
func goJob(t *testing.T, url, job string, values ...float64) {
	t.Helper()
	registry, work := prometheus.NewRegistry(), prometheus.NewCounter(prometheus.CounterOpts{Name: "work_total", Help: "Work done."})
	registry.MustRegister(work)
	before := 0.0
	for _, v := range values {
		work.Add(v - before)
		before = v
		if err := push.New(url, job).Gatherer(registry).Add(); err != nil {
			t.Fatal(err)
		}
	}
}

// scenario is what a job does, and what its counter is to come to.
type scenario struct {
	name string
	want float64
	run  func(t *testing.T, c *counts, job string)
	// found is a finding that the guard is to have of it.
	found string
}

func python(args ...string) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		countWith(t, "python", c.guard.URL, job, args...)
	}
}

func node(args ...string) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		countWith(t, "node", c.guard.URL, job, args...)
	}
}

func shell(body string, values ...int) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		for _, v := range values {
			curl(t, c.guard.URL, "/metrics/job/"+job, fmt.Sprintf(body, v))
		}
	}
}

const totalLine = "# TYPE work_total counter\nwork_total %d\n"

// both runs a thing twice, as a job does that ends and starts anew.
func both(run func(*testing.T, *counts, string)) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		run(t, c, job)
		run(t, c, job)
	}
}

var scenarios = []scenario{
	{name: "a-python-parallel-tasks", want: 200, run: python("tasks", "20", "10")},
	{name: "a-go-parallel-tasks", want: 200, run: parallel(200, func(t *testing.T, c *counts, job string) { goJob(t, c.guard.URL, job, 1) })},
	{name: "a-thousand-at-once", want: 1000, run: parallel(1000, func(t *testing.T, c *counts, job string) {
		mustPush(t, c.guard, "/metrics/job/"+job, fmt.Sprintf(totalLine, 1))
	})},
	{name: "b-python-periodic", want: 25, run: python("periodic", "5", "15", "25")},
	{name: "b-go-periodic", want: 25, run: func(t *testing.T, c *counts, job string) { goJob(t, c.guard.URL, job, 5, 15, 25) }},
	{name: "b-node-periodic", want: 25, run: node("periodic", "5", "15", "25")},
	{name: "c-python-reply-lost", want: 7, run: deaf(func(t *testing.T, url, job string) { countWith(t, "python", url, job, "retry", "7") })},
	{name: "c-curl-reply-lost-with-a-key", want: 7, run: deaf(func(t *testing.T, url, job string) {
		curl(t, url, "/metrics/job/"+job, fmt.Sprintf(totalLine, 7), "--retry", "3", "--retry-all-errors", "--retry-delay", "1", "-H", "Idempotency-Key: "+job)
	})},
	// U1: nothing tells this retry from a second job, and the guard saw no loss.
	{name: "c-curl-reply-lost-unseen", want: 14, run: deaf(func(t *testing.T, url, job string) {
		curl(t, url, "/metrics/job/"+job, fmt.Sprintf(totalLine, 7), "--retry", "3", "--retry-all-errors", "--retry-delay", "1")
	})},
	{name: "d-python-restart", want: 6, run: both(python("once", "3"))},
	{name: "d-go-restart", want: 6, run: both(func(t *testing.T, c *counts, job string) { goJob(t, c.guard.URL, job, 3) })},
	// prom-client says in whole seconds when its process started.
	{name: "d-node-restart", want: 6, run: func(t *testing.T, c *counts, job string) {
		node("once", "3")(t, c, job)
		time.Sleep(1100 * time.Millisecond)
		node("once", "3")(t, c, job)
	}},
	// U4: ten children that share what tells a source are one to anybody.
	{name: "e-python-forked", want: 1, run: python("forked", "10")},
	{name: "f-curl-one-shots", want: 10, run: shell("work_total %d\n", 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)},
	// U2: running totals without evidence add up too often, and that is noticed.
	{name: "g-curl-periodic", want: 80, run: shell(totalLine, 5, 15, 25, 35), found: "periodic_counter"},
	{name: "cumulative", want: 35, run: shell(totalLine, 5, 15, 25, 35)},
	{name: "h-curl-app-id", want: 25, run: func(t *testing.T, c *counts, job string) {
		for _, v := range []int{5, 15, 15, 25} {
			curl(t, c.guard.URL, "/metrics/job/"+job+"/app_id/application_1690000000000_0001", fmt.Sprintf(totalLine, v))
		}
	}},
	// Differenced by task, added by what is left of it: 5 + 7 + 2, not 7 + 9 or 21.
	{name: "order", want: 14, run: func(t *testing.T, c *counts, job string) {
		const created = "# TYPE work_created gauge\n"
		mustPush(t, c.guard, "/metrics/job/"+job, "# TYPE work_total counter\nwork_total{task_id=\"a\"} 5\nwork_total{task_id=\"b\"} 7\n"+
			created+"work_created{task_id=\"a\"} 1700000000.5\nwork_created{task_id=\"b\"} 1700000000.25\n")
		mustPush(t, c.guard, "/metrics/job/"+job, "# TYPE work_total counter\nwork_total{task_id=\"b\"} 9\n"+
			created+"work_created{task_id=\"b\"} 1700000000.25\n")
	}},
}

// parallel does a thing n times, 40 at a time.
func parallel(n int, run func(*testing.T, *counts, string)) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		var all sync.WaitGroup
		slots := make(chan struct{}, 40)
		for range n {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				run(t, c, job)
			})
		}
		all.Wait()
	}
}

// deaf runs a client whose first reply is read in full from the guard, and lost
// on the way to it.
func deaf(run func(t *testing.T, url, job string)) func(*testing.T, *counts, string) {
	return func(t *testing.T, c *counts, job string) {
		t.Helper()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			for n := 0; ; n++ {
				client, err := listener.Accept()
				if err != nil {
					return
				}
				go relay(client, c.guard.Addr, n == 0)
			}
		}()
		run(t, "http://"+listener.Addr().String(), job)
	}
}

// relay hands on what a client sends, and the reply unless that is to be lost.
func relay(client net.Conn, to string, lose bool) {
	defer client.Close()
	server, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer server.Close()
	go func() { _, _ = io.Copy(server, client) }()
	if !lose {
		_, _ = io.Copy(client, server)
		return
	}
	_, _ = server.Read(make([]byte, 1<<16))
}

// TestCounterScenarios has jobs of four client libraries count in every way that
// jobs do, and holds what comes out at the end of each way of increments to what
// they counted.
func TestCounterScenarios(t *testing.T) {
	t.Parallel()
	needClients(t)
	for _, via := range vias {
		t.Run(via, func(t *testing.T) {
			t.Parallel()
			c := startCounts(t, via, "0s")
			t.Run("jobs", func(t *testing.T) {
				for _, s := range scenarios {
					t.Run(s.name, func(t *testing.T) {
						s.run(t, c, s.name)
						if s.found != "" && own(t, c.guard, "pushguard_findings_total", `id="`+s.found+`"`, `job="`+s.name+`"`) == 0 {
							t.Errorf("the guard did not find %s", s.found)
						}
					})
				}
			})
			for _, s := range scenarios {
				c.want(t, s.name, s.want)
			}
			time.Sleep(1200 * time.Millisecond) // one more flush
			for _, s := range scenarios {
				c.want(t, s.name, s.want)
			}
			for _, name := range c.behind.Scrape(t, "").Names() {
				if strings.HasPrefix(name, "work") {
					t.Errorf("the Pushgateway holds %s", name)
				}
			}
		})
	}
}

// TestThousandPythonTasks is the blueprint's own load: 25 threads push 40 times
// each what a task counted, to one group.
func TestThousandPythonTasks(t *testing.T) {
	t.Parallel()
	needClients(t)
	c := startCounts(t, "totals", "0s")
	countWith(t, "python", c.guard.URL, "airflow_tasks", "tasks", "25", "40")
	c.want(t, "airflow_tasks", 1000)
}

// TestClientGoneBeforeTheReply cuts a client off while its push is with the
// Pushgateway. Its retry is counted, and the push is not.
func TestClientGoneBeforeTheReply(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	slow := slowly(t, behind, arrived, release)
	guard := world.Guard(t, world.GuardOptions{Upstream: slow, Policy: world.Write(t, "policy.yml", countPolicy)})
	c := &counts{guard: guard, behind: behind}
	body := fmt.Sprintf(totalLine, 7)

	conn := guard.Dial(t)
	conn.Write(world.Request{Target: "/metrics/job/cut", Body: body}.Bytes(guard.Addr))
	<-arrived
	conn.Close()
	time.Sleep(10 * time.Second) // the guard's server is to notice, which nothing tells
	close(release)
	mustPush(t, guard, "/metrics/job/cut", body)
	c.want(t, "cut", 7)
}

// slowly is a Pushgateway of which the answer to the first push waits.
func slowly(t *testing.T, behind *world.Process, arrived chan<- struct{}, release <-chan struct{}) *world.Process {
	t.Helper()
	var first sync.Once
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.Method == http.MethodPost {
			first.Do(func() {
				arrived <- struct{}{}
				<-release
			})
		}
		request, err := http.NewRequest(r.Method, behind.URL+r.URL.RequestURI(), bytes.NewReader(body))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		request.Header = r.Header.Clone()
		answer, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer answer.Body.Close()
		for name, values := range answer.Header {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.StatusCode)
		_, _ = io.Copy(w, answer.Body)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { _ = server.Close() })
	return &world.Process{Name: "slow pushgateway", Addr: listener.Addr().String(), URL: "http://" + listener.Addr().String()}
}
