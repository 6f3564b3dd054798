package e2e

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// patient is longer than a Pushgateway takes that is not away.
const patient = 20 * time.Second

// spooling is a guard that keeps what its Pushgateway does not answer within some time.
func spooling(t *testing.T, behind *world.Process, after time.Duration, flags ...string) world.GuardOptions {
	t.Helper()
	return world.GuardOptions{
		Upstream: behind,
		Policy: world.Write(t, "policy.yml", `
version: v1
default: {mode: enforce, counters: {route: totals}, limits: {label_limit: 5}}
jobs:
- {job: reported, mode: report}
`),
		Flags: append([]string{
			"--pushgateway.spool", "--state.dir=" + t.TempDir(), "--pushgateway.spool-after=" + after.String(), "--pushgateway.timeout=" + max(10*after, 5*time.Second).String(),
			"--pushgateway.breaker-failures=3", "--pushgateway.breaker-pause=200ms", "--pushgateway.watch-interval=100ms",
		}, flags...),
	}
}

// listed starts a guard and waits until it knows its Pushgateway.
func listed(t *testing.T, options world.GuardOptions) *world.Process {
	t.Helper()
	guard := world.Guard(t, options)
	world.Eventually(t, func() error {
		if a := guard.Get(t, "/-/ready"); a.Status != 200 || a.Body != "OK" {
			return fmt.Errorf("ready: %d %q", a.Status, a.Body)
		}
		return nil
	})
	return guard
}

// drained waits until nothing is kept any more.
func drained(t *testing.T, guard *world.Process) {
	t.Helper()
	world.Eventually(t, func() error {
		if own := guard.Get(t, "/guard/metrics").Body; !strings.Contains(own, "\npushguard_spool_groups 0\n") {
			return fmt.Errorf("the spool is not empty:\n%s", grep(own, "pushguard_spool"))
		}
		return nil
	})
}

func grep(text, what string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, what) {
			out.WriteString(line)
		}
	}
	return out.String()
}

func write(t *testing.T, p *world.Process, method, path, body string, want int) {
	t.Helper()
	if a := p.Send(t, world.Request{Method: method, Target: path, Body: body}); a.Status != want {
		t.Errorf("%s %s: %d %s, want %d", method, path, a.Status, a.Body, want)
	}
}

// TestSpool lets a Pushgateway die under pushes of every kind, and start again empty.
func TestSpool(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	audit := filepath.Join(t.TempDir(), "audit.jsonl")
	options := spooling(t, behind, patient, "--audit.all")
	options.Audit = audit
	guard := listed(t, options)
	write(t, guard, "PUT", "/metrics/job/erased", "# TYPE x gauge\nx 1\n", 200)
	behind.Kill()
	write(t, guard, "PUT", "/metrics/job/put", "# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n", 202)
	write(t, guard, "PUT", "/metrics/job/put", "# TYPE x gauge\nx 2\n", 202)
	write(t, guard, "POST", "/metrics/job/post", "# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n", 202)
	write(t, guard, "POST", "/metrics/job/post", "# TYPE y gauge\ny 2\n# TYPE z gauge\nz 3\n", 202)
	write(t, guard, "DELETE", "/metrics/job/erased", "", 202)
	write(t, guard, "POST", "/metrics/job/again", "# TYPE x gauge\nx 1\n", 202)
	write(t, guard, "DELETE", "/metrics/job/again", "", 202)
	write(t, guard, "POST", "/metrics/job/again", "# TYPE z gauge\nz 9\n", 202)
	write(t, guard, "PUT", "/metrics/job/reported", "# a comment\n# TYPE x gauge\nx{l1=\"\"} 5\n", 202)
	write(t, guard, "POST", "/metrics/job/counts", "failure_count 1\n", 202)
	write(t, guard, "POST", "/metrics/job/counts", "failure_count 1\n", 202)
	write(t, guard, "POST", "/metrics/job/refused", "x{a=\"1\",b=\"2\",c=\"3\",d=\"4\",e=\"5\",f=\"6\"} 1\n", 422)
	if a := guard.Get(t, "/-/ready"); a.Status != 200 || !strings.Contains(a.Body, "pushes are kept (groups: 6, ") {
		t.Errorf("ready: %d %s", a.Status, a.Body)
	}
	behind = behind.Again(t)
	drained(t, guard)
	world.Eventually(t, func() error {
		return holds(behind.Scrape(t, ""), map[string]float64{
			`x{job="put"}`: 2, `x{job="post"}`: 1, `y{job="post"}`: 2, `z{job="post"}`: 3, `z{job="again"}`: 9, `x{job="reported"}`: 5,
		}, `y{job="put"}`, `x{job="erased"}`, `x{job="again"}`, `x{job="refused"}`)
	})
	if err := holds(guard.Scrape(t, ""), map[string]float64{`failure_count{job="counts"}`: 2}); err != nil {
		t.Error(err)
	}
	write(t, guard, "PUT", "/metrics/job/put", "# TYPE x gauge\nx 3\n", 200)
	if log, _ := os.ReadFile(audit); strings.Contains(string(log), `"reason":"spooled"`) {
		t.Errorf("a push is said to have been refused late:\n%s", log)
	}
}

// holds compares some samples of a page, and names others that must not be there.
func holds(page world.Samples, want map[string]float64, absent ...string) error {
	for id, value := range want {
		if got, ok := page[id]; !ok || got != value {
			return fmt.Errorf("%s is %v, %v, want %v", id, got, ok, value)
		}
	}
	for _, id := range absent {
		if got, ok := page[id]; ok {
			return fmt.Errorf("%s is there: %v", id, got)
		}
	}
	return nil
}

// TestSpoolRefusedLate: what only the Pushgateway can see is wrong is said once it has.
func TestSpoolRefusedLate(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	options := spooling(t, behind, 3*time.Second)
	options.Audit = filepath.Join(t.TempDir(), "audit.jsonl")
	guard := listed(t, options)
	write(t, guard, "PUT", "/metrics/job/first", "# TYPE x gauge\nx 1\n", 200)
	behind.Freeze(t)
	write(t, guard, "PUT", "/metrics/job/second", "# TYPE x untyped\nx 1\n# TYPE fine gauge\nfine 1\n", 202)
	behind.Thaw(t)
	drained(t, guard)
	world.Eventually(t, func() error {
		if own := guard.Get(t, "/guard/metrics").Body; !strings.Contains(own, `pushguard_spool_pushes_total{result="rejected"} 1`) {
			return fmt.Errorf("it is not counted:\n%s", grep(own, "pushguard_spool"))
		}
		return nil
	})
	world.Eventually(t, func() error {
		log, _ := os.ReadFile(options.Audit)
		if !strings.Contains(string(log), `"job":"second"`) || !strings.Contains(string(log), `"reason":"spooled"`) {
			return fmt.Errorf("the audit log does not say so:\n%s", log)
		}
		return nil
	})
	if err := holds(behind.Scrape(t, ""), map[string]float64{`x{job="first"}`: 1}, `fine{job="second"}`); err != nil {
		t.Error(err)
	}
}

// TestSpoolIsBounded: what has no room fails as it would without a spool.
func TestSpoolIsBounded(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := listed(t, spooling(t, behind, patient, "--pushgateway.spool-groups=2", "--pushgateway.spool-size=2KiB"))
	behind.Kill()
	write(t, guard, "PUT", "/metrics/job/a", "# TYPE x gauge\nx 1\n", 202)
	write(t, guard, "PUT", "/metrics/job/b", "# TYPE x gauge\nx 1\n", 202)
	write(t, guard, "PUT", "/metrics/job/c", "# TYPE x gauge\nx 1\n", 502)
	write(t, guard, "PUT", "/metrics/job/a", "# HELP x "+strings.Repeat("long ", 400)+"\n# TYPE x gauge\nx 2\n", 502)
	if a := guard.Get(t, "/-/ready"); a.Status != http.StatusServiceUnavailable {
		t.Errorf("ready: %d %s", a.Status, a.Body)
	}
	behind = behind.Again(t)
	drained(t, guard)
	if err := holds(behind.Scrape(t, ""), map[string]float64{`x{job="a"}`: 1, `x{job="b"}`: 1}, `x{job="c"}`); err != nil {
		t.Error(err)
	}
}

// TestSpoolOutlivesKills kills the guard at random moments while its Pushgateway stands
// still. Every push that was answered is there in the end, and of each group the newest
// state. A push whose answer was cut off is sent again until there is one, as a client
// would.
func TestSpoolOutlivesKills(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	options := spooling(t, behind, 300*time.Millisecond)
	guard := listed(t, options)
	options.Addr = guard.Addr
	model := map[string]map[string]float64{} // what each job holds, by family
	acked := 0
	for round := range 8 {
		if round%4 == 0 {
			behind.Freeze(t)
		}
		deadline := time.Now().Add(time.Duration(50+rand.IntN(200)) * time.Millisecond)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			time.Sleep(time.Until(deadline))
			guard.Kill()
		}()
		op := func() (job, method string, families map[string]float64) {
			families = map[string]float64{}
			for _, f := range []string{"x", "y", "z"} {
				if rand.IntN(2) == 0 {
					families[f] = float64(rand.IntN(1000))
				}
			}
			return fmt.Sprintf("j%d", rand.IntN(6)), []string{"PUT", "POST", "POST", "DELETE"}[rand.IntN(4)], families
		}
		for done := false; !done; {
			job, method, families := op()
			for !answered(t, guard, method, job, families) {
				<-killed
				if done {
					t.Fatal("a guard that was started anew does not answer")
				}
				guard, done = world.Guard(t, options), true
			}
			acked++
			apply(model, job, method, families)
		}
		if round%4 == 3 {
			behind.Thaw(t)
		}
	}
	drained(t, guard)
	fence(t, behind, "")
	page := behind.Scrape(t, "")
	for i := range 6 {
		job := fmt.Sprintf("j%d", i)
		for _, f := range []string{"x", "y", "z"} {
			want, there := model[job][f]
			if got, ok := page[fmt.Sprintf("%s{job=%q}", f, job)]; ok != there || got != want {
				t.Errorf("%s of %s is %v, %v, want %v, %v", f, job, got, ok, want, there)
			}
		}
	}
	t.Logf("%d writes were answered", acked)
}

func apply(model map[string]map[string]float64, job, method string, families map[string]float64) {
	if method != "POST" {
		delete(model, job)
	}
	if method == "DELETE" {
		return
	}
	if model[job] == nil {
		model[job] = map[string]float64{}
	}
	for f, v := range families {
		model[job][f] = v
	}
}

// answered reports whether a write got an answer, which must be that it was taken.
func answered(t *testing.T, guard *world.Process, method, job string, families map[string]float64) bool {
	t.Helper()
	var body strings.Builder
	if method != "DELETE" {
		for f, v := range families {
			fmt.Fprintf(&body, "# TYPE %s gauge\n%s %v\n", f, f, v)
		}
	}
	request, err := http.NewRequestWithContext(t.Context(), method, guard.URL+"/metrics/job/"+job, strings.NewReader(body.String()))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	if response.StatusCode != 200 && response.StatusCode != 202 {
		t.Errorf("%s %s: %d", method, job, response.StatusCode)
	}
	return true
}

// TestSpoolTakenAway starts a guard without its spool while something waits in it: it says
// so, as long as that is so.
func TestSpoolTakenAway(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	with := spooling(t, behind, time.Second)
	without := with
	without.Flags = slices.DeleteFunc(slices.Clone(with.Flags), func(flag string) bool { return flag == "--pushgateway.spool" })
	guard := listed(t, with)
	with.Addr, without.Addr = guard.Addr, guard.Addr
	behind.Kill()
	if a := guard.Push(t, "/metrics/job/a", "a 1\n"); a.Status != http.StatusAccepted {
		t.Fatal(a.Status, a.Body)
	}
	guard.Stop(t)
	behind = behind.Again(t)
	const words = "without --pushgateway.spool they are not delivered"
	for range 2 {
		guard = listed(t, without)
		if !strings.Contains(guard.Logs(), words) {
			t.Errorf("nobody is told that a push waits:\n%s", guard.Logs())
		}
		guard.Stop(t)
	}
	guard = listed(t, with)
	drained(t, guard)
	if got := behind.Scrape(t, "")[`a{job="a"}`]; got != 1 {
		t.Errorf("what waited is %v, want 1", got)
	}
	guard.Stop(t)
	if guard = listed(t, without); strings.Contains(guard.Logs(), words) {
		t.Errorf("nothing waits:\n%s", guard.Logs())
	}
}
