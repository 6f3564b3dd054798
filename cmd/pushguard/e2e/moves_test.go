package e2e

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// moving are the flags of a guard before these Pushgateways that moves groups, and for how
// long it keeps what has moved.
func moving(behind []*world.Process, keep string, more ...string) world.GuardOptions {
	var o world.GuardOptions
	for _, p := range behind {
		o.Flags = append(o.Flags, "--pushgateway.url="+p.URL)
	}
	o.Flags = append(o.Flags, "--pushgateway.keep-moved="+keep, "--pushgateway.timeout=2s", "--pushgateway.watch-interval=100ms")
	o.Flags = append(o.Flags, more...)
	return o
}

// strays is how many groups a guard knows that are not, or not only, where they belong,
// and -1 if it does not tell yet.
func strays(t *testing.T, guard *world.Process) int {
	t.Helper()
	own := guard.Get(t, "/guard/metrics").Body
	if strings.Contains(own, "\npushguard_sync_last_success_timestamp_seconds 0\n") {
		return -1
	}
	sum := 0
	for line := range strings.Lines(grep(own, "pushguard_upstream_stray_groups{")) {
		n := 0
		_, _ = fmt.Sscan(line[strings.IndexByte(line, ' '):], &n)
		sum += n
	}
	return sum
}

// moved waits until every group is on the Pushgateway it belongs to and nowhere else, and
// the page through the guard is what is wanted.
func moved(t *testing.T, guard *world.Process, behind []*world.Process, groups int, want map[string]float64) {
	t.Helper()
	world.Eventually(t, func() error {
		if n := strays(t, guard); n != 0 {
			return fmt.Errorf("%d groups are not where they belong", n)
		}
		if err := atHome(t, behind, groups); err != nil {
			return err
		}
		page, err := guard.Whole(t, "")
		if err != nil {
			return err
		}
		return holds(page, want)
	})
}

// atHome says what is wrong unless there are so many groups, and those of a job are on one
// and the same Pushgateway.
func atHome(t *testing.T, behind []*world.Process, groups int) error {
	t.Helper()
	at, n := map[string]int{}, 0
	for i, p := range behind {
		for _, g := range p.State(t) {
			n++
			if other, ok := at[g.Key["job"]]; ok && other != i {
				return fmt.Errorf("job %s is on two Pushgateways", g.Key["job"])
			}
			at[g.Key["job"]] = i
		}
	}
	if n != groups {
		return fmt.Errorf("there are %d groups, want %d", n, groups)
	}
	return nil
}

// TestMoves has a list of two Pushgateways grow to three while jobs push and pages are
// read, and takes one out again.
func TestMoves(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t), world.Pushgateway(t, "--push.disable-consistency-check")}
	guard := world.Guard(t, moving(behind[:2], "0s"))
	want := map[string]float64{}
	for i := range 60 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE x gauge\nx %d\n# TYPE n counter\nn{a=\"b\"} %d\n", i, i), 200)
		want[fmt.Sprintf(`x{job="j%d"}`, i)], want[fmt.Sprintf(`n{a="b", job="j%d"}`, i)] = float64(i), float64(i)
	}
	guard.Stop(t)
	guard = world.Guard(t, moving(behind, "0s"))
	watching, stop := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	still := maps.Clone(want)
	for i := range 20 { // these are pushed to
		delete(still, fmt.Sprintf(`x{job="j%d"}`, i))
	}
	watch.Go(func() {
		for watching.Err() == nil {
			page, err := guard.Whole(t, "")
			if err == nil {
				err = holds(page, still)
			}
			if err != nil {
				t.Errorf("a page while groups move: %v", err)
			}
			if n := len(guard.State(t)); n != 60 {
				t.Errorf("%d groups are listed while they move, want 60", n)
			}
			time.Sleep(10 * time.Millisecond) // others want to be served, too
		}
	})
	for n := 0; n < 100 || strays(t, guard) != 0; n++ {
		i := n % 20
		write(t, guard, "POST", fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE x gauge\nx %d\n", n), 200)
		want[fmt.Sprintf(`x{job="j%d"}`, i)] = float64(n)
		if t.Context().Err() != nil {
			t.Fatal("groups do not move")
		}
	}
	stop()
	watch.Wait()
	moved(t, guard, behind, 60, want)
	if n := len(behind[2].State(t)); n < 8 {
		t.Errorf("the third has %d of 60 groups", n)
	}
	guard.Stop(t)
	guard = world.Guard(t, moving(behind[1:], "0s", "--pushgateway.leaving="+behind[0].URL))
	moved(t, guard, behind[1:], 60, want)
	if left := behind[0].State(t).Keys(); len(left) > 0 {
		t.Errorf("the one that leaves holds %v", left)
	}
	if own := guard.Get(t, "/guard/metrics").Body; !strings.Contains(own, `pushguard_upstream_moves_total{result="deleted"}`) || strings.Contains(own, `pushguard_upstream_moves_total{result="deleted"} 0`) {
		t.Errorf("the moves are not counted:\n%s", grep(own, "pushguard_upstream_moves"))
	}
}

// pushMany has each of n jobs push one group, and returns what a page must show.
func pushMany(t *testing.T, guard *world.Process, n int) map[string]float64 {
	t.Helper()
	want := map[string]float64{}
	for i := range n {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE x gauge\nx %d\n# TYPE y gauge\ny 1\n", i), 200)
		want[fmt.Sprintf(`x{job="j%d"}`, i)], want[fmt.Sprintf(`y{job="j%d"}`, i)] = float64(i), 1
	}
	return want
}

// TestMovesOutliveKills kills the guard at random moments while groups move. Nothing is
// lost, and in the end nothing is there twice.
func TestMovesOutliveKills(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t), world.Pushgateway(t)}
	guard := world.Guard(t, moving(behind[:1], "0s"))
	want := pushMany(t, guard, 200)
	guard.Kill()
	options := moving(behind, "0s", "--state.dir="+t.TempDir())
	for range 8 {
		guard = world.Guard(t, options)
		options.Addr = guard.Addr
		time.Sleep(time.Duration(900+rand.IntN(600)) * time.Millisecond) // moves begin after a second
		guard.Kill()
	}
	guard = world.Guard(t, options)
	moved(t, guard, behind, 200, want)
}

// TestMovedAgesOutliveKills has groups move, and a guard that comes after one that was killed
// show when they were pushed to.
func TestMovedAgesOutliveKills(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Pushgateway(t), world.Pushgateway(t), world.Pushgateway(t)}
	guard := world.Guard(t, moving(behind[:1], "0s"))
	want := pushMany(t, guard, 60)
	times := func() []string {
		return slices.Sorted(strings.Lines(grep(guard.Get(t, "/metrics").Body, "push_time_seconds{")))
	}
	pushed := times()
	guard.Kill()
	options := moving(behind, "0s", "--state.dir="+t.TempDir())
	for range 3 {
		guard = world.Guard(t, options)
		moved(t, guard, behind, 60, want)
		if now := times(); !slices.Equal(now, pushed) {
			t.Errorf("a guard says that groups were pushed to at\n%s\nthey were at\n%s", now, pushed)
		}
		guard.Kill()
	}
}

// TestMovesOutlivePushgateways kills Pushgateways that keep what they hold on disk, one
// after the other, while groups move. What a new place has in memory alone is still there
// at the old.
func TestMovesOutlivePushgateways(t *testing.T) {
	t.Parallel()
	behind := []*world.Process{world.Persistent(t), world.Persistent(t), world.Persistent(t)}
	guard := world.Guard(t, moving(behind[:1], "0s"))
	want := pushMany(t, guard, 200)
	guard.Stop(t)
	behind[0].Stop(t) // and so has written down what it holds
	behind[0] = behind[0].Back(t)
	guard = world.Guard(t, moving(behind, "5s"))
	for victim := range behind {
		time.Sleep(time.Duration(500+rand.IntN(1500)) * time.Millisecond)
		behind[victim].Kill()
		behind[victim] = behind[victim].Back(t)
	}
	moved(t, guard, behind, 200, want)
}
