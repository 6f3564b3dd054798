package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const neighbourMetric = "payroll_rows_done"

var neighbourTables = []string{"accounts", "bookings", "employees", "hours", "taxes"}

// neighbour is the well-behaved job: the same few series in every push, whose
// value is the number of the push.
type neighbour struct {
	url   string
	every time.Duration
	sent  atomic.Int64 // the number of the newest push
	acked atomic.Int64 // of the newest that was accepted

	mu      sync.Mutex
	waits   []time.Duration // of each push so far
	refused int             // pushes that were not accepted
}

// run pushes until stop is closed, or ctx is over. A push that takes longer than
// the time between two makes the next ones late, and they are then sent one right
// after the other: what is measured is the wait since a push was due, so that no
// stall hides the pushes it held up.
func (n *neighbour) run(ctx context.Context, stop <-chan struct{}) {
	client := newClient()
	defer client.CloseIdleConnections()
	for due := time.Now(); ctx.Err() == nil; due = due.Add(n.every) {
		select {
		case <-stop:
			return
		case <-time.After(time.Until(due)):
		}
		n.push(ctx, client, due)
	}
}

func (n *neighbour) push(ctx context.Context, client *http.Client, due time.Time) {
	number := n.sent.Add(1)
	accepted := accepted(post(ctx, client, http.MethodPut, n.url, request{"/metrics/job/payroll", neighbourBody(number)}))
	if ctx.Err() != nil {
		return // it is nobody's fault
	}
	if accepted {
		n.acked.Store(number)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.waits = append(n.waits, time.Since(due))
	if !accepted {
		n.refused++
	}
}

func neighbourBody(number int64) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# TYPE %s gauge\n", neighbourMetric)
	for _, table := range neighbourTables {
		fmt.Fprintf(&b, "%s{table=%q} %d\n", neighbourMetric, table, number)
	}
	return b.Bytes()
}

// worst is the longest wait since the push of the given number, which is how
// many there were.
func (n *neighbour) worst(since int) (longest time.Duration, pushes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if since < len(n.waits) {
		longest = slices.Max(n.waits[since:])
	}
	return longest, len(n.waits)
}

// fate is how the well-behaved job fared in a run.
type fate struct {
	pushes   int
	refused  int  // pushes that were not accepted
	readings int  // of /metrics
	behind   int  // of these, without what had been accepted when they began
	lost     bool // the last push is not there in the end

	p50, p99, max time.Duration // from when a push was due to its answer
}

// missing is how many pushes cannot be found, or were never taken.
func (f fate) missing() int {
	if f.lost {
		return f.refused + 1
	}
	return f.refused
}

func (n *neighbour) fate() fate {
	n.mu.Lock()
	defer n.mu.Unlock()
	sorted := slices.Sorted(slices.Values(n.waits))
	return fate{
		pushes: len(sorted), refused: n.refused,
		p50: quantile(sorted, 50), p99: quantile(sorted, 99), max: quantile(sorted, 100),
	}
}

// quantile is the smallest of sorted values that percent of them do not exceed,
// and 0 of none.
func quantile(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(1, (len(sorted)*percent+99)/100)-1]
}

// newClient returns a client that keeps one connection to one server.
func newClient() *http.Client {
	return &http.Client{
		Timeout:   2 * time.Minute,
		Transport: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 1},
	}
}

// post sends a push and returns the status of the answer, 0 for none.
func post(ctx context.Context, client *http.Client, method, url string, r request) int {
	req, err := http.NewRequestWithContext(ctx, method, url+r.path, bytes.NewReader(r.body))
	if err != nil {
		return 0
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// accepted reports whether a Pushgateway took a push: with 202 it will apply it.
func accepted(status int) bool {
	return status == http.StatusOK || status == http.StatusAccepted
}
