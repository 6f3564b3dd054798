package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// sweep runs pushguard sweep to its end.
func sweep(t *testing.T, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, world.Binary(t), append([]string{"sweep"}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// ageOf is the age, as flags have it, by which a sweep takes what was pushed before a
// time, and two seconds of what came after it: a Pushgateway's clock is read in whole
// seconds. Every second that the command takes to start is added to that.
func ageOf(at time.Time) string {
	return fmt.Sprintf("%dms", (time.Since(at) - 2*time.Second).Milliseconds())
}

// apart is the time between the pushes that are to be swept and those that are not: a
// sweep that starts within ten seconds tells them apart.
const apart = 12 * time.Second

// groupKey is a grouping key as the tests write it, job among the labels.
type groupKey map[string]string

// path names the group in base64 throughout, so that no other code has a say in
// what is pushed where.
func (k groupKey) path() string {
	var b strings.Builder
	b.WriteString("/metrics/job@base64/" + encoded(k["job"]))
	for _, name := range slices.Sorted(maps.Keys(k)) {
		if name != "job" {
			b.WriteString("/" + name + "@base64/" + encoded(k[name]))
		}
	}
	return b.String()
}

func keysOf(groups []groupKey) []string {
	keys := []string{}
	for _, k := range groups {
		b, _ := json.Marshal(k) // a map of strings
		keys = append(keys, string(b))
	}
	slices.Sort(keys)
	return keys
}

// holdLines fails the test unless the report begins as many lines by each word as
// wanted, and ends by a sum.
func holdLines(t *testing.T, report string, want map[string]int) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(report, "\n"), "\n")
	got := map[string]int{}
	for _, line := range lines[:len(lines)-1] {
		word, _, _ := strings.Cut(line, " {")
		got[word]++
	}
	if diff := cmp.Diff(want, got); diff != "" || !strings.Contains(lines[len(lines)-1], " groups stale") {
		t.Errorf("lines (-want +got):\n%s\nof\n%s", diff, report)
	}
}

// cleanersMissed are groups that known cleaners delete wrongly or not at all.
func cleanersMissed() []groupKey {
	stale := []groupKey{
		{"job": "a", "instance": "x", "run_id": "1"}, // they delete {job="a", instance="x"}
		{"job": "alone"},
		{"job": "whole", "instance": "old", "shard": "1"}, // they delete {job="whole"}
		{"job": "a/b"},
		{"job": "."},
		{"job": ".."},
		{"job": "empty", "instance": ""},
		{"job": "empty", "instance": "i", "zone": ""},
		{"job": "pieces", "metrics": "metrics"},
		{"job": "pieces", "instance": "job", "base64": "@base64"},
		{"job": "job"},
		{"job": "metrics", "instance": "job/x"},
		{"job": "many", "a": "1", "b": "", "c": "x/y", "d": "..", "instance": "10.0.0.1:9100"},
	}
	for _, value := range []string{
		"a/b", "/", "a//b", "../../x", ".", "..", "a b", "a+b", "50%", "%2F", "a?b=c&d", "a#b", "ü漢😀", "line\nbreak", `a\b`, `"q"`,
		"\t\x00\x7f", "{x}", "@base64", "YQ==", "=", "*",
	} {
		stale = append(stale, groupKey{"job": "values", "path": value})
	}
	return stale
}

// TestSweepWhereCleanersFail sweeps what known cleaners leave, beside what they
// take instead.
func TestSweepWhereCleanersFail(t *testing.T) {
	t.Parallel()
	gateway := world.Pushgateway(t, "--web.route-prefix=/pgw")
	push := func(groups []groupKey) {
		t.Helper()
		for _, k := range groups {
			mustPush(t, gateway, "/pgw"+k.path(), onePush)
		}
	}
	stale := cleanersMissed()
	fresh := []groupKey{
		{"job": "a", "instance": "x"},
		{"job": "whole"},
		{"job": "a", "b": ""},
		{"job": "values"},
		{"job": "values", "path": "x"},
		{"job": "whole", "instance": "old"},
		{"job": "alone", "instance": "x"},
	}
	push(stale)
	if got := gateway.Push(t, "/pgw/metrics/job/failed/instance/only", "a 1 1\n"); got.Status != http.StatusBadRequest {
		t.Fatalf("a push with a time: %d %s", got.Status, got.Body)
	}
	stale = append(stale, groupKey{"job": "failed", "instance": "only"})
	pushed := time.Now()
	time.Sleep(apart)
	push(fresh)
	before := gateway.StateUnder(t, "/pgw")

	dry := sweep(t, "--older-than="+ageOf(pushed), "--dry-run", gateway.URL)
	if dry.code != 0 {
		t.Errorf("a dry run exits %d: %s", dry.code, dry.stderr)
	}
	holdLines(t, dry.stdout, map[string]int{"would delete": len(stale)})
	if diff := cmp.Diff(before, gateway.StateUnder(t, "/pgw")); diff != "" {
		t.Errorf("a dry run changed the state:\n%s", diff)
	}

	some := sweep(t, "--older-than="+ageOf(pushed), "--job=pie.*", gateway.URL)
	if some.code != 0 {
		t.Errorf("of some jobs, exit %d: %s", some.code, some.stderr)
	}
	holdLines(t, some.stdout, map[string]int{"deleted": 2})
	if got := len(gateway.StateUnder(t, "/pgw")); got != len(before)-2 {
		t.Errorf("%d groups left of %d, want two less", got, len(before))
	}
	if got := sweep(t, "--older-than="+ageOf(pushed), "--job=ie", gateway.URL); got.code != 0 || strings.Count(got.stdout, "\n") != 1 {
		t.Errorf("a part of a job's name matches: %+v", got)
	}

	all := sweep(t, "--older-than="+ageOf(pushed), gateway.URL)
	if all.code != 0 {
		t.Errorf("exit %d: %s", all.code, all.stderr)
	}
	holdLines(t, all.stdout, map[string]int{"deleted": len(stale) - 2})
	if diff := cmp.Diff(keysOf(fresh), gateway.StateUnder(t, "/pgw").Keys()); diff != "" {
		t.Errorf("groups (-fresh +left):\n%s\nafter\n%s", diff, all.stdout)
	}
	for _, want := range []string{
		`deleted {instance="x", job="a", run_id="1"}, pushed `,
		`deleted {job="values", path="line\nbreak"}, pushed `,
		`deleted {instance="only", job="failed"}, failed `,
	} {
		if !strings.Contains(all.stdout, want) {
			t.Errorf("no line %q in\n%s", want, all.stdout)
		}
	}
	if !strings.Contains(all.stderr, "is lost") || !strings.Contains(all.stderr, "put pushguard in front") {
		t.Errorf("nothing is said of pushes that come meanwhile: %q", all.stderr)
	}
}

func TestSweepNothing(t *testing.T) {
	t.Parallel()
	gateway := world.Pushgateway(t)
	if got := sweep(t, gateway.URL); got != (outcome{0, "0 of 0 groups stale\n", ""}) {
		t.Errorf("empty: %+v", got)
	}
	mustPush(t, gateway, "/metrics/job/fresh", onePush)
	if got := sweep(t, gateway.URL); got != (outcome{0, "0 of 1 groups stale\n", ""}) {
		t.Errorf("fresh: %+v", got)
	}
	gateway.Stop(t)
	if got := sweep(t, gateway.URL); got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "connection refused") {
		t.Errorf("gone: %+v", got)
	}
}

// TestSweepBytes cannot delete what the listing does not name, and says so.
func TestSweepBytes(t *testing.T) {
	t.Parallel()
	gateway := world.Pushgateway(t)
	mustPush(t, gateway, "/metrics/job/plain", onePush)
	if got := gateway.Push(t, "/metrics/job/j/zone/a%ff", onePush); got.Status != http.StatusBadRequest {
		t.Fatalf("a push that breaks the Pushgateway: %d %s", got.Status, got.Body)
	}
	time.Sleep(1500 * time.Millisecond)
	for _, dry := range []bool{true, false} {
		args, word := []string{"--older-than=1s", gateway.URL}, "deleted"
		if dry {
			args, word = append(args, "--dry-run"), "would delete"
		}
		got := sweep(t, args...)
		holdLines(t, got.stdout, map[string]int{word: 1, "failed": 1})
		if got.code != 1 || !strings.Contains(got.stdout, "is not UTF-8") || !strings.HasSuffix(got.stderr, "pushguard: 1 of 2 stale groups cannot be deleted or were not\n") {
			t.Errorf("dry %v: %+v", dry, got)
		}
	}
	if got := gateway.State(t); len(got) != 1 || got[0].Key["job"] != "j" {
		t.Errorf("left are %v", got)
	}
}

// TestSweepKeepsWhatIsPushedMeanwhile pushes one group between the first listing
// and its turn.
func TestSweepKeepsWhatIsPushedMeanwhile(t *testing.T) {
	t.Parallel()
	gateway := world.Pushgateway(t)
	for _, job := range []string{"first", "second", "third"} {
		mustPush(t, gateway, "/metrics/job/"+job, onePush)
	}
	time.Sleep(1500 * time.Millisecond)
	var sweeping sync.WaitGroup
	var got outcome
	sweeping.Go(func() { got = sweep(t, "--older-than=1s", "--rate=0.1/s", gateway.URL) })
	world.Eventually(t, func() error {
		if n := len(gateway.State(t)); n > 2 {
			return fmt.Errorf("%d groups are left", n)
		}
		return nil
	})
	mustPush(t, gateway, "/metrics/job/third", onePush)
	sweeping.Wait()
	holdLines(t, got.stdout, map[string]int{"deleted": 2, "kept": 1})
	if got.code != 0 || !strings.Contains(got.stdout, "kept {job=\"third\"}") || !strings.Contains(got.stdout, ": pushed meanwhile\n") {
		t.Errorf("%+v", got)
	}
	if keys := gateway.State(t).Keys(); len(keys) != 1 || keys[0] != `{"job":"third"}` {
		t.Errorf("left are %v", keys)
	}
}

// TestSweepWithCredentials reads a Pushgateway that asks for them.
func TestSweepWithCredentials(t *testing.T) {
	t.Parallel()
	gateway, ca := world.SecurePushgateway(t)
	if got := sweep(t, gateway.URL); got.code != 1 || got.stdout != "" {
		t.Errorf("without: %+v", got)
	}
	config := world.Write(t, "client.yml", fmt.Sprintf("basic_auth: {username: %s, password: %s}\ntls_config: {ca_file: %s}\n", world.User, world.Password, ca))
	if got := sweep(t, "--pushgateway.config.file="+config, gateway.URL); got != (outcome{0, "0 of 0 groups stale\n", ""}) {
		t.Errorf("with: %+v", got)
	}
}

// TestSweepMany deletes 5,000 groups while jobs push to others.
func TestSweepMany(t *testing.T) {
	t.Parallel()
	const many, busy = 5000, 20
	gateway := world.Pushgateway(t, "--push.disable-consistency-check")
	client := &http.Client{Timeout: time.Minute}
	defer client.CloseIdleConnections()
	push := func(path string) {
		resp, err := client.Post(gateway.URL+path, "text/plain", strings.NewReader(onePush))
		if err != nil {
			t.Error(err)
			return
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
	for i := range many {
		push(fmt.Sprintf("/metrics/job/stale/run/%d", i))
	}
	pushed := time.Now()
	stop := make(chan struct{})
	var pushes atomic.Int64
	var jobs sync.WaitGroup
	jobs.Go(func() {
		for {
			push(fmt.Sprintf("/metrics/job/busy/run/%d", pushes.Add(1)%busy))
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	time.Sleep(apart)
	start, before := time.Now(), pushes.Load()
	got := sweep(t, "--older-than="+ageOf(pushed), gateway.URL)
	took := time.Since(start)
	close(stop)
	jobs.Wait()
	t.Logf("%d groups swept in %v, with %d pushes meanwhile", many, took.Round(time.Millisecond), pushes.Load()-before)
	if want := fmt.Sprintf("%d of %d groups stale: %d deleted\n", many, many+busy, many); got.code != 0 || !strings.HasSuffix(got.stdout, want) {
		t.Errorf("exit %d, %q, and no %q", got.code, got.stderr, want)
	}
	if left := gateway.State(t); len(left) != busy {
		t.Errorf("%d groups are left, want the %d that are pushed", len(left), busy)
	}
}
