package faults

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

const (
	memoryLimit  = 256 * mib
	floods       = 1000 // pushes
	floodSeries  = 1000 // of each, a million in all
	floodWorkers = 4
)

// flooded counts the answers of a flood by their status. What is shed because many push at
// once comes again, and counts once.
type flooded struct {
	mu      sync.Mutex
	answers map[int]int
	memory  int // of them said that it was for want of memory
}

// flood pushes a million series, each of which is new, in groups of a thousand.
func flood(t *testing.T, guard *world.Process, path func(i int) string) *flooded {
	t.Helper()
	f := &flooded{answers: map[int]int{}}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: floodWorkers}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var all sync.WaitGroup
	for range floodWorkers {
		all.Go(func() {
			for i := next.Add(1); i <= floods; i = next.Add(1) {
				if err := f.push(t, client, guard.URL+path(int(i)), different(int(i))); err != nil {
					t.Errorf("push %d: %v", i, err)
					return
				}
			}
		})
	}
	all.Wait()
	return f
}

// different is a body of series that no other push has. Their labels differ from the first
// character on: what they have in common a guard would hold once, and have room for all.
func different(push int) string {
	var b strings.Builder
	b.WriteString("# TYPE rows_loaded gauge\n")
	for i := range floodSeries {
		fmt.Fprintf(&b, "rows_loaded{status=\"ok\",table=\"%d_%d_of_the_orders_in_the_warehouse_that_the_night_has_loaded_from_the_region\"} %d\n", i, push, i)
	}
	return b.String()
}

func (f *flooded) push(t *testing.T, client *http.Client, url, body string) error {
	for {
		status, text, err := put(t, client, url, body)
		switch {
		case err != nil:
			return err
		case status == http.StatusServiceUnavailable && strings.Contains(text, "too many pushes at once"):
			time.Sleep(50 * time.Millisecond) // sooner than it is told, to press harder
			continue
		case status == http.StatusUnprocessableEntity && !strings.Contains(text, "limit "):
			return fmt.Errorf("422 without a limit: %s", text)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.answers[status]++
		if strings.Contains(text, "the guard's memory") {
			f.memory++
		}
		return nil
	}
}

// put pushes a body; a 503 must say when to come again.
func put(t *testing.T, client *http.Client, url, body string) (status int, text string, err error) {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") == "" {
		err = fmt.Errorf("503 without Retry-After: %s", answer)
	}
	return response.StatusCode, string(answer), err
}

// TestAMillionSeriesInLittleMemory pushes a million series to a guard that may hold 256 MiB,
// keeps them itself and writes them down: under the policy that is built in, whose budgets
// end the flood, and under one that grants everything, where the memory does. Each push is
// answered, the guard lives, its page is whole, what it has can be pushed and deleted; and
// once there is room, new series are taken again.
func TestAMillionSeriesInLittleMemory(t *testing.T) {
	t.Parallel()
	if world.Race() {
		t.Skip("the race detector in the guard takes several times the memory that is measured here")
	}
	for _, tc := range []struct {
		name, policy string
		path         func(i int) string
		fills        bool // the memory
	}{
		{
			"the policy built in", filepath.Join(world.Root(), "deploy", "policy.example.yml"),
			func(i int) string { return fmt.Sprint("/metrics/job/flood-", i) }, false,
		},
		{
			"everything granted", world.Write(t, "policy.yml", "version: v1\ndefault: {mode: enforce}\n"),
			func(i int) string { return fmt.Sprint("/metrics/job/flood/part/", i) }, true,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			memory := world.NewMemory(t, memoryLimit)
			guard := world.Guard(t, world.GuardOptions{Policy: tc.policy, Memory: memory, Flags: []string{"--state.dir=" + t.TempDir()}})
			if !strings.Contains(guard.Logs(), "GOMEMLIMIT=230MiB") {
				t.Errorf("the guard does not know its limit:\n%s", guard.Logs())
			}
			mustPush(t, guard, "/metrics/job/others", rows(10))
			f := flood(t, guard, tc.path)
			memory.Kept(t, guard)
			mustPush(t, guard, "/metrics/job/others", rows(10))
			page := guard.Get(t, "/metrics")
			n := strings.Count(page.Body, "\nrows_loaded{")
			t.Logf("of %d pushes were answered %v, %d for want of memory; %d series of the flood stand", floods, f.answers, f.memory, n)
			if page.Status != http.StatusOK || strings.Count(page.Body, "\nrows{") != 10 {
				t.Errorf("the page is %d, with %d series of the others", page.Status, strings.Count(page.Body, "\nrows{"))
			}
			if fills := f.memory > 0; fills != tc.fills || n == floods*floodSeries || n == 0 {
				t.Errorf("that memory was wanting is %v, want %v; %d series stand", fills, tc.fills, n)
			}
			if tc.fills {
				makeRoom(t, guard)
				pushLarge(t, guard)
			}
			memory.Kept(t, guard)
		})
	}
}

// makeRoom deletes what the flood left, and sees that new series are taken then.
func makeRoom(t *testing.T, guard *world.Process) {
	t.Helper()
	const late = "/metrics/job/late"
	for i := range floods {
		if a := guard.Send(t, world.Request{Method: http.MethodDelete, Target: fmt.Sprint("/metrics/job/flood/part/", i+1)}); a.Status != http.StatusAccepted {
			t.Fatalf("a delete: %d %s", a.Status, a.Body)
		}
	}
	world.Eventually(t, func() error {
		if a := guard.Push(t, late, rows(10)); a.Status != http.StatusOK {
			return fmt.Errorf("what is new, with room again: %d %s", a.Status, a.Body)
		}
		return nil
	})
	if got := held(t, guard, "late"); got != 12 {
		t.Errorf("%d series of the late job are held, want 12", got)
	}
}

// pushLarge pushes bodies that each take much of the memory, or more than there is, eight
// at a time: none ends the guard, those that can never be taken are told so, and one that
// can is, once it comes alone.
func pushLarge(t *testing.T, guard *world.Process) {
	t.Helper()
	bomb := zipped(t, strings.Repeat("# filler\n", 64*mib/9))
	for _, tc := range []struct {
		name, body, encoding string
		statuses             []int
	}{
		{"200,000 samples in little text", dense(199_000), "", []int{http.StatusRequestEntityTooLarge}},
		{"64 MiB inside", bomb, "gzip", []int{http.StatusRequestEntityTooLarge}},
		{"16 MiB", strings.Repeat("# filler\n", 16*mib/9), "", []int{http.StatusRequestEntityTooLarge}},
		{"30,000 samples", dense(30_000), "", []int{http.StatusOK, http.StatusUnprocessableEntity}},
	} {
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				request := world.Request{Method: http.MethodPut, Target: fmt.Sprint("/metrics/job/large/part/", i), Body: tc.body}
				if tc.encoding != "" {
					request.Headers = [][2]string{{"Content-Encoding", tc.encoding}}
				}
				if a := guard.Send(t, request); !slices.Contains(tc.statuses, a.Status) && a.Status != http.StatusServiceUnavailable {
					t.Errorf("%s: %d %s, want 503 or one of %v", tc.name, a.Status, a.Body, tc.statuses)
				}
			})
		}
		all.Wait()
	}
	for i := range 8 {
		if a := guard.Send(t, world.Request{Method: http.MethodDelete, Target: fmt.Sprint("/metrics/job/large/part/", i)}); a.Status != http.StatusAccepted {
			t.Errorf("a delete: %d %s", a.Status, a.Body)
		}
	}
	body := dense(30_000)
	world.Eventually(t, func() error {
		if a := guard.Push(t, "/metrics/job/large", body); a.Status != http.StatusOK {
			return fmt.Errorf("30,000 samples alone: %d %s", a.Status, a.Body)
		}
		return nil
	})
}

// dense is a body of so many samples and few bytes.
func dense(samples int) string {
	var b strings.Builder
	for i := range samples {
		fmt.Fprintf(&b, "a{b=\"%d\"} 1\n", i)
	}
	return b.String()
}
