package faults

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/state/statetest"
)

const diskPolicy = `version: v1
default:
  mode: enforce
  budget: {series: 100000}
  limits: {label_limit: 5}
  counters: {route: totals}
  rules: [{id: runs, labels: [run_id], action: event}]
`

// onDisk are the metrics that say whether the disk takes what is written to it, and how
// many a guard has that writes all.
var onDisk = map[string]int{
	"pushguard_state_written": 3, "pushguard_audit_written": 1, "pushguard_record_written": 1, "pushguard_events_spool_written": 1,
}

// writer is a guard on its own that writes all it can to a disk.
func writer(t *testing.T, disk string) world.GuardOptions {
	t.Helper()
	return world.GuardOptions{
		Policy: world.Write(t, "policy.yml", diskPolicy), Audit: filepath.Join(disk, "audit.jsonl"),
		Flags: []string{
			"--audit.all", "--state.dir=" + filepath.Join(disk, "state"), "--state.sync-interval=50ms", "--record.rate=0",
			"--record.file=" + filepath.Join(disk, "record.jsonl"), "--events.url=loki+http://" + gatewaytest.FreeAddress(t),
		},
	}
}

// long fills the last page of a file soon.
var long = strings.Repeat("x", 500)

// pushAll has something to be written to each file: a group, a counter, an event.
func pushAll(t *testing.T, guard *world.Process, n int) {
	t.Helper()
	mustPush(t, guard, fmt.Sprintf("/metrics/job/disk/n/%d/pad/%s", n, long), fmt.Sprintf("# TYPE rows gauge\nrows{run_id=\"%d\"} %[1]d\n", n))
	mustPush(t, guard, "/metrics/job/counts", "failure_count 1\n")
}

// awaitPage waits until the guard's page for people has some texts, or has none of them.
func awaitPage(t *testing.T, guard *world.Process, there bool, texts ...string) {
	t.Helper()
	world.Eventually(t, func() error {
		page := guard.Get(t, "/guard/")
		for _, text := range texts {
			if page.Status != http.StatusOK || strings.Contains(page.Body, text) != there {
				return fmt.Errorf("/guard/: %d; that it says %q should be %v", page.Status, text, there)
			}
		}
		return nil
	})
}

// TestFullDisk fills the disk of a guard that writes journal, ledger, counters, audit log,
// recorded pushes and events to it. Every push is answered as ever; metrics, /-/healthy
// and the page for people say what is wrong, until there is room; and what was pushed
// meanwhile outlives a kill then.
func TestFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t, "PUSHGUARD_BINARY="+world.Binary(t)) {
		return
	}
	disk := statetest.SmallDisk(t, "8m")
	ballast := filepath.Join(disk, "ballast")
	options := writer(t, disk)
	guard := world.Guard(t, options)
	options.Addr = guard.Addr
	pushes := 0
	push := func() { pushAll(t, guard, pushes); pushes++ }
	written := func(want float64) error {
		push()
		left := maps.Clone(onDisk)
		for series, value := range guard.Scrape(t, "/guard") {
			name, _, _ := strings.Cut(series, "{")
			if _, is := onDisk[name]; is && value == want {
				left[name]--
			}
		}
		for name, n := range left {
			if n != 0 {
				return fmt.Errorf("%d of %s are not %v", n, name, want)
			}
		}
		return nil
	}
	await := func(want float64) {
		t.Helper()
		world.Eventually(t, func() error { return written(want) })
	}
	await(1)
	statetest.Fill(t, ballast)
	await(0)
	awaitPage(t, guard, true, "the disk takes nothing: changes are in memory alone", "records could not be written", "in memory alone: the disk takes nothing")
	health := guard.Get(t, "/-/healthy")
	if health.Status != http.StatusOK || strings.Count(health.Body, "kept in memory alone") < 2 {
		t.Errorf("/-/healthy: %d %s", health.Status, health.Body)
	}
	for _, want := range []string{"events that wait", "the last audit record was lost", "the last push to be recorded was lost"} {
		if !strings.Contains(health.Body, want) {
			t.Errorf("/-/healthy says nothing of %q: %s", want, health.Body)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(1)
	if a := guard.Get(t, "/-/healthy"); a.Body != "OK" {
		t.Errorf("/-/healthy with room again: %d %s", a.Status, a.Body)
	}
	awaitPage(t, guard, false, "the disk takes nothing")
	guard.Kill()
	guard = world.Guard(t, options)
	samples := guard.Scrape(t, "")
	for n := range pushes {
		if got, found := samples[fmt.Sprintf(`rows{job="disk", n="%d", pad=%q}`, n, long)]; !found || got != float64(n) {
			t.Errorf("group %d is %v (%v) after a kill", n, got, found)
		}
	}
	if got := samples[`failure_count{job="counts"}`]; got != float64(pushes) {
		t.Errorf("the counter is %v after a kill, want %d", got, pushes)
	}
	if got := held(t, guard, "disk"); got != stands(samples, "disk") {
		t.Errorf("%d series are booked, %d stand", got, stands(samples, "disk"))
	}
	world.Eventually(t, func() error {
		for series, waiting := range guard.Scrape(t, "/guard") {
			if strings.HasPrefix(series, "pushguard_events_queued{") && waiting != float64(pushes) {
				return fmt.Errorf("%v events wait after a kill, want %d", waiting, pushes)
			}
		}
		return nil
	})
}

// TestFullDiskOfTheSpool has no disk to keep pushes on while the Pushgateway is away: a
// push then fails as it would without a spool, and is taken once there is room.
func TestFullDiskOfTheSpool(t *testing.T) {
	if !statetest.OwnMounts(t, "PUSHGUARD_BINARY="+world.Binary(t)) {
		return
	}
	disk := statetest.SmallDisk(t, "4m")
	ballast := filepath.Join(disk, "ballast")
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{
		"--pushgateway.spool", "--state.dir=" + filepath.Join(disk, "state"), "--state.sync-interval=50ms",
		"--pushgateway.breaker-pause=100ms", "--pushgateway.watch-interval=100ms",
	}})
	pushes := 0
	push := func() int {
		pushes++
		return guard.Push(t, fmt.Sprintf("/metrics/job/disk/n/%d/pad/%s", pushes, long), "rows 1\n").Status
	}
	await := func(status int, written float64) {
		t.Helper()
		world.Eventually(t, func() error {
			if got, disk := push(), own(t, guard, "pushguard_spool_written"); got != status || disk != written {
				return fmt.Errorf("a push is answered %d, pushguard_spool_written is %v; want %d, %v", got, disk, status, written)
			}
			return nil
		})
	}
	await(http.StatusOK, 1)
	behind.Kill()
	await(http.StatusAccepted, 1)
	statetest.Fill(t, ballast)
	await(http.StatusBadGateway, 0)
	if a := guard.Get(t, "/-/ready"); a.Status != http.StatusServiceUnavailable {
		t.Errorf("/-/ready without a Pushgateway and a disk: %d %s", a.Status, a.Body)
	}
	awaitPage(t, guard, true, "the disk takes no more")
	refused := pushes
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	await(http.StatusAccepted, 1)
	behind = behind.Again(t)
	awaitOwn(t, guard, "pushguard_spool_groups", 0)
	page := behind.Scrape(t, "")
	for n, want := range map[int]bool{refused: false, pushes: true} {
		if _, found := page[fmt.Sprintf(`rows{job="disk", n="%d", pad=%q}`, n, long)]; found != want {
			t.Errorf("push %d stands: %v, want %v", n, found, want)
		}
	}
}

// TestDeliveredOnAFullDisk delivers what the spool kept while its disk is full, and pushes to
// the same group. A guard that is killed then and started again does not put the old push
// over the newer one.
func TestDeliveredOnAFullDisk(t *testing.T) {
	if !statetest.OwnMounts(t, "PUSHGUARD_BINARY="+world.Binary(t)) {
		return
	}
	disk := statetest.SmallDisk(t, "1m")
	behind := world.Pushgateway(t)
	options := world.GuardOptions{Upstream: behind, Flags: []string{
		"--pushgateway.spool", "--state.dir=" + filepath.Join(disk, "state"), "--state.sync-interval=50ms",
		"--pushgateway.breaker-pause=100ms", "--pushgateway.watch-interval=100ms",
	}}
	guard := world.Guard(t, options)
	options.Addr = guard.Addr
	behind.Kill()
	for n := range 20 {
		if a := guard.Push(t, fmt.Sprintf("/metrics/job/disk/n/%d/pad/%s", n, long), "rows 1\n"); a.Status != http.StatusAccepted {
			t.Fatal(a.Status, a.Body)
		}
	}
	statetest.Fill(t, filepath.Join(disk, "ballast"))
	world.Eventually(t, func() error {
		if a := guard.Push(t, "/metrics/job/full/pad/"+long, "rows 1\n"); a.Status != http.StatusBadGateway {
			return fmt.Errorf("with a full disk a push is answered %d", a.Status)
		}
		return nil
	})
	behind = behind.Again(t)
	awaitOwn(t, guard, "pushguard_spool_groups", 0)
	world.Eventually(t, func() error {
		left, err := filepath.Glob(filepath.Join(disk, "state", "spool.1.*"))
		if err != nil || len(left) > 0 {
			return fmt.Errorf("of what was delivered there are %q, %v", left, err)
		}
		return nil
	})
	mustPush(t, guard, "/metrics/job/disk/n/7/pad/"+long, "rows 2\n")
	guard.Kill()
	guard = world.Guard(t, options)
	awaitOwn(t, guard, "pushguard_spool_groups", 0)
	series := fmt.Sprintf(`rows{job="disk", n="7", pad=%q}`, long)
	if got := behind.Scrape(t, "")[series]; got != 2 {
		t.Errorf("after the kill the Pushgateway has %v, want what came last, 2", got)
	}
	guard.Kill() // told to end, it says that its disk is full
}

// TestFilesRemoved takes files of the state from under a guard, and then all of them. What
// is missing is written anew from memory; a directory that is gone is not taken again, since
// another guard might have it, and the guard goes on in memory and says so.
func TestFilesRemoved(t *testing.T) {
	t.Parallel()
	disk := t.TempDir()
	dir := filepath.Join(disk, "state")
	options := writer(t, disk)
	guard := world.Guard(t, options)
	options.Addr = guard.Addr
	pushAll(t, guard, 1)
	gone := 0
	for _, pattern := range []string{"*.log", "*.snapshot"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			gone++
		}
	}
	if gone < 3 {
		t.Fatalf("the state had %d files", gone)
	}
	for _, file := range []string{"audit.jsonl", "record.jsonl"} {
		if err := os.Remove(filepath.Join(disk, file)); err != nil {
			t.Fatal(err)
		}
	}
	pushAll(t, guard, 2)
	world.Eventually(t, func() error {
		for _, file := range []string{"state/ledger.*.snapshot", "state/counters.*.snapshot", "state/groups.*.snapshot", "audit.jsonl", "record.jsonl"} {
			if found, err := filepath.Glob(filepath.Join(disk, file)); err != nil || len(found) == 0 {
				return fmt.Errorf("%s is not there again", file)
			}
		}
		return nil
	})
	for _, series := range []string{"ledger", "counters", "groups"} {
		awaitOwn(t, guard, fmt.Sprintf("pushguard_state_written{log=%q}", series), 1)
	}
	guard.Kill()
	guard = world.Guard(t, options)
	page := guard.Scrape(t, "")
	if got := page[`failure_count{job="counts"}`]; got != 2 || stands(page, "disk") != held(t, guard, "disk") || held(t, guard, "disk") != 6 {
		t.Errorf("after a kill the counter is %v, %d series stand and %d are booked; want 2, 6, 6", got, stands(page, "disk"), held(t, guard, "disk"))
	}

	world.Eventually(t, func() error { return os.RemoveAll(dir) }) // the guard may write to it meanwhile
	awaitOwn(t, guard, `pushguard_state_written{log="groups"}`, 0)
	pushAll(t, guard, 3)
	world.Eventually(t, func() error {
		for series, value := range guard.Scrape(t, "/guard") {
			if strings.HasPrefix(series, "pushguard_events_spool_written{") && value == 0 {
				return nil
			}
		}
		return errors.New("the guard does not say that it keeps events in memory alone")
	})
	if got := guard.Scrape(t, "")[`failure_count{job="counts"}`]; got != 3 {
		t.Errorf("without its directory the guard counts %v, want 3", got)
	}
	if a := guard.Get(t, "/-/healthy"); !strings.Contains(a.Body, "in memory alone") {
		t.Errorf("/-/healthy: %d %s", a.Status, a.Body)
	}
	guard.Signal(t)
	if code, err := guard.Wait(); err != nil || code == 0 {
		t.Errorf("without its directory the guard ends with %d, %v; want it to end, and to say that the directory is gone", code, err)
	}
	guard.Kill()
}
