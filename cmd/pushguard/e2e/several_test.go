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
