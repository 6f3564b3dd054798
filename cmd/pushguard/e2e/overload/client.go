package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// class is a kind of jobs.
type class struct {
	name  string
	share float64 // of what is offered
	job   func(n int64) string
}

// smallJobs is how many jobs push little each.
const smallJobs = 40

// classes are those of an overload. The first are what the guard could serve, and half of
// it.
var classes = []class{
	{"many jobs that it knows", 1.0 / 6, func(n int64) string { return fmt.Sprint("small", n%smallJobs) }},
	{"one job that it knows", 2.0 / 6, func(int64) string { return "greedy" }},
	{"jobs that it does not know", 3.0 / 6, func(n int64) string { return fmt.Sprint("new", n) }},
}

const (
	bodies   = 256 // of which no two have a label value in common
	clients  = 8   // that push one after the other
	patience = 2 * time.Minute
)

// client pushes to a guard.
type client struct {
	url    string
	bodies [][]byte
	http   *http.Client
	next   atomic.Int64 // body
	sent   atomic.Int64 // pushes that were due
}

func newClient(url string, series int) *client {
	c := &client{url: url, http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}}
	for n := range bodies {
		var text bytes.Buffer
		z := gzip.NewWriter(&text)
		for i := range series {
			fmt.Fprintf(z, "step_%03d_rows{region=\"eu-west-1\",status=\"ok\",table=\"orders_%d_%d\"} %d\n", i/10, i%10, n, i)
		}
		_ = z.Close()
		c.bodies = append(c.bodies, text.Bytes())
	}
	return c
}

// push puts a group of a job and returns the answer's status, or why there was none.
func (c *client) push(ctx context.Context, job string) (int, error) {
	body := c.bodies[c.next.Add(1)%bodies]
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, c.url+"/metrics/job/"+job, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Encoding", "gzip")
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode, nil
}

// sustainable is how many pushes a second are answered to clients that wait for each.
func (c *client) sustainable(ctx context.Context, d time.Duration) (float64, error) {
	known := []class{classes[0], classes[1]}
	for n := range int64(smallJobs) { // so that it knows them
		for _, k := range known {
			if status, err := c.push(ctx, k.job(n)); status != http.StatusOK {
				return 0, fmt.Errorf("job %s: answered %d, %v", k.job(n), status, err)
			}
		}
	}
	var all sync.WaitGroup
	var done, failed atomic.Int64
	begun := time.Now()
	for range clients {
		all.Go(func() {
			for time.Since(begun) < d {
				if status, _ := c.push(ctx, classes[0].job(done.Add(1))); status != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	all.Wait()
	if n := failed.Load(); n > 0 {
		return 0, fmt.Errorf("%d of %d pushes were not taken", n, done.Load())
	}
	return float64(done.Load()) / time.Since(begun).Seconds(), nil
}

// tally is what became of the pushes of one class.
type tally struct {
	offered, accepted, shed, other int
	waits                          []time.Duration // of those that were accepted
	failure                        string          // of one of the others
}

// offer sends pushes of the classes at a rate for that long, each when it is due, and
// waits for all answers.
func (c *client) offer(ctx context.Context, rate float64, classes []class, d time.Duration) []tally {
	whole := 0.0
	for _, k := range classes {
		whole += k.share
	}
	tallies := make([]tally, len(classes))
	var all sync.WaitGroup
	for i, k := range classes {
		all.Go(func() { tallies[i] = c.send(ctx, k, rate*k.share/whole, d) })
	}
	all.Wait()
	return tallies
}

func (c *client) send(ctx context.Context, k class, rate float64, d time.Duration) tally {
	var mu sync.Mutex
	var t tally
	var pushes sync.WaitGroup
	begun := time.Now()
	for n := 0; ; n++ {
		due := time.Duration(float64(n) / rate * float64(time.Second))
		if due >= d {
			break
		}
		time.Sleep(due - time.Since(begun))
		job := k.job(c.sent.Add(1))
		pushes.Go(func() {
			sent := time.Now()
			status, err := c.push(ctx, job)
			wait := time.Since(sent)
			mu.Lock()
			defer mu.Unlock()
			t.note(status, err, wait)
		})
	}
	pushes.Wait()
	return t
}

func (t *tally) note(status int, err error, wait time.Duration) {
	t.offered++
	switch status {
	case http.StatusOK:
		t.accepted++
		t.waits = append(t.waits, wait)
	case http.StatusServiceUnavailable:
		t.shed++
	default:
		t.other++
		t.failure = fmt.Sprintf("status %d after %s, %v", status, wait.Round(time.Millisecond), err)
	}
}
