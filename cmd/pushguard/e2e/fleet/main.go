// Command fleet loads three guards with one Redis as a dumb load balancer does, and
// one guard alone, and compares.
//
//	go run ./cmd/pushguard/e2e/fleet [flags]
//
// Every push adds 1 to a counter of its job and brings one series that is new, of
// which a job may have few. In the end the sum of each job is to be the number of its
// pushes that were taken, and the Pushgateway is to have no more series of it
// than its budget. The program prints that, and how many pushes a second went through.
// It fails where a sum is wrong or a budget was exceeded. As a test it does so for some
// seconds.
//
// It needs Linux, the go command, a prometheus-pushgateway and a redis-server in PATH,
// and is to be started inside the repository.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
	"github.com/pushguard/pushguard/proxy/addresstest"
)

const policyText = `
version: v1
default:
  owner: load
  mode: enforce
  budget: {series: %d, groups: 10}
  counters: {route: totals}
`

// options are what a command line says.
type options struct {
	jobs, connections, guards, series int
	duration                          time.Duration
	guard                             string
}

func main() {
	var o options
	flag.IntVar(&o.jobs, "jobs", 1000, "jobs that push")
	flag.IntVar(&o.connections, "connections", 16, "connections over which they push")
	flag.IntVar(&o.guards, "guards", 3, "guards of the fleet")
	flag.IntVar(&o.series, "series", 20, "budget of a job")
	flag.DurationVar(&o.duration, "duration", 5*time.Second, "how long each of the fleets is loaded")
	flag.StringVar(&o.guard, "guard", "", "a built pushguard; without it one is built from the source")
	flag.Parse()
	server.Main("fleet", func(ctx context.Context, _ []string, out, _ io.Writer) error { return run(ctx, o, out) })
}

func run(ctx context.Context, o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "fleet")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.guard, err = server.Guard(ctx, o.guard, dir); err != nil {
		return err
	}
	policy := filepath.Join(dir, "policy.yml")
	if err := os.WriteFile(policy, fmt.Appendf(nil, policyText, o.series), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(out, "%-32s %9s %9s %9s %9s %9s %8s\n", "", "pushes/s", "answered", "counted", "refused", "most held", "redis/s")
	for _, w := range []lineup{{name: "one guard, no Redis", guards: 1}, {name: "one guard, Redis", guards: 1, shared: true}, {name: fmt.Sprintf("%d guards, one Redis", o.guards), guards: o.guards, shared: true}} {
		if err := w.measure(ctx, o, dir, policy, out); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// lineup is some guards before a Pushgateway.
type lineup struct {
	name   string
	guards int
	shared bool
}

func (w *lineup) measure(ctx context.Context, o options, dir, policy string, out io.Writer) error {
	behind, err := addresstest.Free()
	if err != nil {
		return err
	}
	gateway, err := server.StartAt(ctx, behind, "Pushgateway", server.Pushgateway, "--web.listen-address="+behind, "--push.disable-consistency-check", "--persistence.file=")
	if err != nil {
		return err
	}
	defer gateway.Kill()
	args := []string{"serve", "--pushgateway.url=" + gateway.URL, "--policy.file=" + policy, "--pushgateway.timeout=30s"}
	var redis *redis
	if w.shared {
		if redis, err = startRedis(dir); err != nil {
			return err
		}
		defer redis.kill()
		args = append(args, "--state.url=redis://"+redis.address, "--state.timeout=30s")
	}
	var guards []string
	for range w.guards {
		at, err := addresstest.Free()
		if err != nil {
			return err
		}
		g, err := server.StartAt(ctx, at, "pushguard", o.guard, append(args, "--web.listen-address="+at)...)
		if err != nil {
			return err
		}
		defer g.Kill()
		guards = append(guards, g.URL)
	}
	l := load{guards: guards, sent: make([]atomic.Int64, o.jobs), unknown: make([]atomic.Int64, o.jobs), patience: time.Minute}
	took := l.run(o)
	return l.judge(o, gateway.URL, func(v verdict) {
		fmt.Fprintf(out, "%-32s %9.0f %9d %9.0f %9d %9d %8.0f\n", w.name,
			float64(v.answered)/took.Seconds(), v.answered, v.counted, l.refused.Load(), v.most, redis.commands()/took.Seconds())
	})
}

// load pushes round robin to all guards.
type load struct {
	guards  []string
	sent    []atomic.Int64 // by job: what was taken
	unknown []atomic.Int64 // by job: what got no answer, and may count
	refused atomic.Int64
	next    atomic.Int64

	patience time.Duration // for a guard that has yet to hear what was counted last
}

func (l *load) run(o options) time.Duration {
	begun := time.Now()
	end := begun.Add(o.duration)
	var all sync.WaitGroup
	for range o.connections {
		client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}, Timeout: 2 * time.Minute}
		all.Go(func() {
			for time.Now().Before(end) {
				l.push(client, l.next.Add(1), o.jobs)
			}
		})
	}
	all.Wait()
	return time.Since(begun)
}

func (l *load) push(client *http.Client, n int64, jobs int) {
	job := int(n*7919) % jobs
	body := fmt.Appendf(nil, "# TYPE pushes counter\npushes 1\nrows_%d 1\n", n)
	reply, err := client.Post(fmt.Sprintf("%s/metrics/job/j%d", l.guards[int(n)%len(l.guards)], job), "text/plain", bytes.NewReader(body))
	if err != nil {
		l.unknown[job].Add(1)
		return
	}
	_, _ = io.Copy(io.Discard, reply.Body)
	_ = reply.Body.Close()
	if reply.StatusCode/100 != 2 {
		l.refused.Add(1)
		return
	}
	l.sent[job].Add(1)
}

// verdict is what there is in the end.
type verdict struct {
	answered int64
	counted  float64
	most     int // series of one job that the Pushgateway holds
}

func (l *load) judge(o options, gateway string, tell func(verdict)) error {
	var v verdict
	var wrong []error
	for _, guard := range l.guards {
		sums, faults, err := l.settled(guard)
		if err != nil {
			return err
		}
		wrong = append(wrong, faults...)
		v.answered, v.counted = 0, 0
		for job := range l.sent {
			v.answered += l.sent[job].Load()
			v.counted += sums[fmt.Sprint("j", job)]
		}
	}
	if v.answered == 0 {
		return errors.New("no push was taken")
	}
	_, held, err := page(gateway)
	if err != nil {
		return err
	}
	for job, n := range held {
		v.most = max(v.most, n)
		if n > o.series {
			wrong = append(wrong, fmt.Errorf("job %s has %d series, of %d", job, n, o.series))
		}
	}
	tell(v)
	return errors.Join(wrong[:min(len(wrong), 5)]...)
}

// settled reads the sums of a guard once they are as they have to be, or patience ends.
func (l *load) settled(guard string) (sums map[string]float64, faults []error, err error) {
	for end := time.Now().Add(l.patience); ; time.Sleep(100 * time.Millisecond) {
		if sums, _, err = page(guard); err != nil {
			return nil, nil, err
		}
		if faults = l.compare(guard, sums); len(faults) == 0 || time.Now().After(end) {
			return sums, faults, nil
		}
	}
}

// compare finds the sums that are not the number of pushes that were taken, and perhaps
// of those without an answer.
func (l *load) compare(guard string, sums map[string]float64) (faults []error) {
	for job := range l.sent {
		least, got := float64(l.sent[job].Load()), sums[fmt.Sprint("j", job)]
		if got < least || got > least+float64(l.unknown[job].Load()) {
			faults = append(faults, fmt.Errorf("%s says %v of job j%d, of which %v pushes were taken and %d got no answer", guard, got, job, least, l.unknown[job].Load()))
		}
	}
	return faults
}

// page reads the sum of each job, and how many series of it there are.
func page(url string) (sums map[string]float64, series map[string]int, err error) {
	reply, err := http.Get(url + "/metrics")
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(reply.Body)
	if err != nil {
		return nil, nil, err
	}
	sums, series = map[string]float64{}, map[string]int{}
	for line := range strings.Lines(string(body)) {
		_, rest, ok := strings.Cut(line, `job="`)
		if !ok {
			continue
		}
		job, rest, _ := strings.Cut(rest, `"`)
		series[job]++
		if strings.HasPrefix(line, "pushes{") {
			_, value, _ := strings.Cut(rest, "} ")
			if sums[job], err = strconv.ParseFloat(strings.TrimSpace(value), 64); err != nil {
				return nil, nil, err
			}
		}
	}
	return sums, series, nil
}

// redis is one that keeps nothing on disk.
type redis struct {
	address string
	cmd     *exec.Cmd
}

func startRedis(dir string) (*redis, error) {
	address, err := addresstest.Free()
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(address, ":")
	r := &redis{address: address, cmd: exec.Command("redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--dir", dir)}
	if err := r.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (on Debian: apt-get install redis-server)", err)
	}
	for range 1200 {
		time.Sleep(50 * time.Millisecond)
		if r.commands() > 0 {
			return r, nil
		}
	}
	r.kill()
	return nil, errors.New("redis-server did not start")
}

func (r *redis) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// commands is how many it has carried out; 0 if there is none.
func (r *redis) commands() float64 {
	if r == nil {
		return 0
	}
	host, port, _ := strings.Cut(r.address, ":")
	out, err := exec.Command("redis-cli", "-h", host, "-p", port, "info", "commandstats").Output()
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(out), "cmdstat_evalsha:calls=")
	calls, _, _ := strings.Cut(rest, ",")
	n, _ := strconv.ParseFloat(calls, 64)
	return n + 1
}
