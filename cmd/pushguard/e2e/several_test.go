package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestSeveral spreads jobs over three Pushgateways, takes one out, and kills another.
func TestSeveral(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t), world.Pushgateway(t)}
	flags := func(leaving int) (out []string) {
		for i, p := range behind {
			if i == leaving {
				out = append(out, "--pushgateway.leaving="+p.URL)
				continue
			}
			out = append(out, "--pushgateway.url="+p.URL)
		}
		return append(out, "--pushgateway.timeout=30s", "--pushgateway.watch-interval=100ms", "--pushgateway.keep-moved=0s")
	}
	guard := world.Guard(t, world.GuardOptions{Flags: flags(-1)})
	for i := range 30 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE x gauge\nx %d\n# TYPE y gauge\ny 1\n", i), 200)
	}
	for _, p := range behind {
		if n := len(p.State(t)); n < 1 || n > 25 {
			t.Errorf("%s holds %d of 30 groups", p.URL, n)
		}
	}
	write(t, guard, "PUT", "/metrics/job/other", "# TYPE x counter\nx 1\n", 400) // wherever it belongs
	every := map[string]float64{}
	for i := range 30 {
		every[fmt.Sprintf(`x{job="j%d"}`, i)] = float64(i)
		every[fmt.Sprintf(`y{job="j%d"}`, i)] = 1
	}
	page := guard.Scrape(t, "")
	if err := holds(page, every); err != nil {
		t.Error(err)
	}
	if n := len(guard.State(t)); n != 31 { // the refused one is marked by its failure
		t.Errorf("the listing has %d groups, want 31", n)
	}
	guard.Stop(t)

	// What the third held moves, whatever is pushed meanwhile.
	guard = world.Guard(t, world.GuardOptions{Flags: flags(2)})
	for i := range 30 {
		method := "PUT"
		if i%2 == 1 {
			method = "POST"
		}
		write(t, guard, method, fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE x gauge\nx %d\n", 100+i), 200)
		every[fmt.Sprintf(`x{job="j%d"}`, i)] = float64(100 + i)
		if i%2 == 0 {
			delete(every, fmt.Sprintf(`y{job="j%d"}`, i))
		}
	}
	world.Eventually(t, func() error {
		if n := len(behind[2].State(t)); n > 0 {
			return fmt.Errorf("the one that leaves holds %d groups", n)
		}
		return nil
	})
	if err := holds(guard.Scrape(t, ""), every, `y{job="j0"}`, `y{job="j2"}`); err != nil {
		t.Error(err)
	}

	// One that is dead is missing on the page, which says so.
	behind[0].Kill()
	page = guard.Scrape(t, "")
	if up := page[fmt.Sprintf("pushguard_upstream_up{upstream=%q}", behind[0].URL)]; up != 0 {
		t.Errorf("the dead one is up: %v", up)
	}
	if up := page[fmt.Sprintf("pushguard_upstream_up{upstream=%q}", behind[1].URL)]; up != 1 {
		t.Errorf("the other is not: %v", up)
	}
	taken, refused := 0, 0
	for i := range 30 {
		switch a := guard.Send(t, world.Request{Method: "PUT", Target: fmt.Sprintf("/metrics/job/j%d", i), Body: "# TYPE x gauge\nx 7\n"}); a.Status {
		case 200:
			taken++
		case 502:
			refused++
		default:
			t.Errorf("%d %s", a.Status, a.Body)
		}
	}
	if taken < 2 || refused < 2 {
		t.Errorf("with one of two dead %d pushes are taken and %d refused", taken, refused)
	}
	if own := guard.Get(t, "/guard/metrics").Body; strings.Count(own, "\npushguard_upstream_breaker_open{") != 3 {
		t.Errorf("its metrics do not tell of three:\n%s", grep(own, "pushguard_upstream_breaker"))
	}
}

// TestSeveralStartsWithOneDead starts a guard while one of three Pushgateways is dead:
// the jobs of the others are served, as far as their budgets go, and those of the dead one
// once it is back with what it had.
func TestSeveralStartsWithOneDead(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Persistent(t), world.Pushgateway(t), world.Pushgateway(t)}
	options := world.GuardOptions{
		Policy: world.Write(t, "policy.yml", "version: v1\ndefault:\n  owner: p\n  mode: enforce\n  budget: {series: 2}\n"),
		Flags:  []string{"--pushgateway.timeout=30s", "--pushgateway.watch-interval=100ms", "--pushgateway.breaker-failures=0"},
	}
	for _, p := range behind {
		options.Flags = append(options.Flags, "--pushgateway.url="+p.URL)
	}
	guard := world.Guard(t, options)
	for i := range 30 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), "# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n", 200)
	}
	dead := map[string]bool{}
	for _, g := range behind[0].State(t) {
		dead[g.Key["job"]] = true
	}
	guard.Stop(t)
	behind[0].Stop(t) // it writes down what it has
	guard = world.Guard(t, options)
	if len(dead) < 1 || len(dead) > 25 {
		t.Fatalf("%d of 30 jobs are the dead one's", len(dead))
	}
	for i := range 30 {
		job, want := fmt.Sprintf("j%d", i), 200
		if dead[job] {
			want = 503 // what it holds of the budget is not known
		}
		write(t, guard, "POST", "/metrics/job/"+job, "# TYPE z gauge\nz 1\n", want) // over the budget, and trimmed
	}
	if page := guard.Scrape(t, ""); holds(page, map[string]float64{}, `z{job="j0"}`, `z{job="j1"}`) != nil {
		t.Error("a job has more than its budget")
	}
	behind[0].Back(t)
	for i := range 30 {
		path := fmt.Sprintf("/metrics/job/j%d", i)
		world.Eventually(t, func() error {
			if a := guard.Send(t, world.Request{Method: "POST", Target: path, Body: "# TYPE z gauge\nz 1\n"}); a.Status != 200 {
				return fmt.Errorf("%d %s", a.Status, a.Body)
			}
			return nil
		})
	}
}

// TestSeveralCopies: a move that was cut off has left a group on two Pushgateways. The
// newer copy stands, wherever it is.
func TestSeveralCopies(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t)}
	for i := range 10 {
		path := fmt.Sprintf("/metrics/job/j%d", i)
		write(t, behind[i%2], "PUT", path, "# TYPE x gauge\nx 1\n", 200)
		write(t, behind[1-i%2], "PUT", path, "# TYPE x gauge\nx 2\n", 200)
	}
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--pushgateway.keep-moved=0s", "--pushgateway.url=" + behind[0].URL, "--pushgateway.url=" + behind[1].URL}})
	world.Eventually(t, func() error {
		if n := len(behind[0].State(t)) + len(behind[1].State(t)); n != 10 {
			return fmt.Errorf("there are %d copies of 10 groups", n)
		}
		return nil
	})
	page := guard.Scrape(t, "")
	for i := range 10 {
		if err := holds(page, map[string]float64{fmt.Sprintf(`x{job="j%d"}`, i): 2}); err != nil {
			t.Error(err)
		}
	}
}

// TestSeveralSpool: what waits for one that is dead holds up no push to another.
func TestSeveralSpool(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t)}
	options := spooling(t, nil, patient)
	options.Flags = append(options.Flags, "--pushgateway.url="+behind[0].URL, "--pushgateway.url="+behind[1].URL)
	guard := listed(t, options)
	behind[0].Kill()
	answers, want := map[int]int{}, map[string]float64{}
	for i := range 20 {
		a := guard.Send(t, world.Request{Method: "PUT", Target: fmt.Sprintf("/metrics/job/j%d", i), Body: fmt.Sprintf("# TYPE x gauge\nx %d\n", i)})
		answers[a.Status]++
		want[fmt.Sprintf(`x{job="j%d"}`, i)] = float64(i)
	}
	if answers[200] < 1 || answers[202] < 1 || answers[200]+answers[202] != 20 {
		t.Errorf("20 pushes with one of two dead are answered %v", answers)
	}
	behind[0].Again(t)
	drained(t, guard)
	if err := holds(guard.Scrape(t, ""), want); err != nil {
		t.Error(err)
	}
}

// TestSeveralMovesWithSpool has the list grow by one that is dead at first, with a spool:
// what is pushed while groups move ends at its place, and every counter is exact.
func TestSeveralMovesWithSpool(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Persistent(t), world.Pushgateway(t), world.Pushgateway(t)}
	options := spooling(t, nil, patient, "--pushgateway.keep-moved=0s", "--pushgateway.url="+behind[1].URL, "--pushgateway.url="+behind[2].URL)
	const jobs = 20
	value := 0
	round := func(guard *world.Process) {
		value++
		for i := range jobs {
			body := fmt.Sprintf("# TYPE x gauge\nx %d\n# TYPE n counter\nn 1\n", value)
			if a := guard.Send(t, world.Request{Method: []string{"PUT", "POST"}[i%2], Target: fmt.Sprintf("/metrics/job/j%d", i), Body: body}); a.Status != 200 && a.Status != 202 {
				t.Errorf("job %d: %d %s", i, a.Status, a.Body)
			}
		}
	}
	guard := listed(t, options)
	round(guard)
	guard.Stop(t)
	behind[0].Stop(t)
	options.Flags = append(options.Flags, "--pushgateway.url="+behind[0].URL)
	guard = world.Guard(t, options)
	round(guard) // some wait for the dead one, which they belong to from now on
	behind[0] = behind[0].Back(t)
	for range 5 {
		round(guard)
	}
	drained(t, guard)
	want := map[string]float64{}
	for i := range jobs {
		want[fmt.Sprintf(`x{job="j%d"}`, i)] = float64(value)
		want[fmt.Sprintf(`n{job="j%d"}`, i)] = float64(value)
	}
	world.Eventually(t, func() error {
		held := 0
		for _, p := range behind {
			held += len(p.State(t))
		}
		if moved := len(behind[0].State(t)); held != jobs || moved == 0 {
			return fmt.Errorf("there are %d copies of %d groups, %d of them on the new one", held, jobs, moved)
		}
		return holds(guard.Scrape(t, ""), want)
	})
}
