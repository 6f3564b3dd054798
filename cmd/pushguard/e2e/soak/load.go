package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	workers = 8                // that push at once to one stage
	answer  = 20 * time.Second // how long a push may go without one
	again   = 100 * time.Millisecond
)

// load is the jobs of a stage: they push at a rate, and again what was not answered,
// until it is.
type load struct {
	url   string
	model *model
	gate  sync.RWMutex // held by each push, until it is answered; taken to have them pause

	answered, retried atomic.Int64
	mu                sync.Mutex
	statuses          map[int]int
	wrong             []string
}

func newLoad(url string, m *model) *load {
	return &load{url: url, model: m, statuses: map[int]int{}}
}

// run pushes so many times a second until ctx ends. statsd says whether there are
// counters for it.
func (l *load) run(ctx context.Context, rate float64, statsd bool) {
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() { l.work(ctx, hand(w, statsd), time.Duration(workers*float64(time.Second)/rate)) })
	}
	all.Wait()
}

func (l *load) work(ctx context.Context, jobs []job, every time.Duration) {
	client := &http.Client{Timeout: answer, Transport: &http.Transport{IdleConnTimeout: time.Second}}
	turn := time.NewTicker(every)
	defer turn.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
		}
		l.gate.RLock()
		l.insist(ctx, client, jobs[n%len(jobs)]())
		l.gate.RUnlock()
	}
}

// insist sends a push until it is answered, and then has the model have it.
func (l *load) insist(ctx context.Context, client *http.Client, o *op) {
	began := l.model.lost()
	for {
		status, text, err := l.send(ctx, client, o)
		if ctx.Err() != nil {
			return
		}
		if err == nil && status < 500 && status != http.StatusTooManyRequests {
			l.answered.Add(1)
			if taken := status == http.StatusOK || status == http.StatusAccepted; taken == o.refused {
				l.complain("%s %s: %d %s\n%s", o.method, o.path, status, text, o.body)
			}
			l.model.write(o, began)
			return
		}
		l.retried.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-time.After(again):
		}
	}
}

func (l *load) send(ctx context.Context, client *http.Client, o *op) (status int, text string, err error) {
	request, err := http.NewRequestWithContext(ctx, o.method, l.url+o.path, strings.NewReader(o.body))
	if err != nil {
		return 0, "", err
	}
	if o.once != "" {
		request.Header.Set("Idempotency-Key", o.once)
	}
	response, err := client.Do(request)
	if err != nil {
		l.note(0)
		return 0, "", err
	}
	defer response.Body.Close()
	l.note(response.StatusCode)
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func (l *load) note(status int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.statuses[status]++
}

// complain keeps what must not be; the first few are enough.
func (l *load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) < 20 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

// complaints are those so far.
func (l *load) complaints() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string{}, l.wrong...)
}

// scrape reads the page as Prometheus does, again and again, until ctx ends: where it is
// answered, it is one that can be scraped, and no total is less than it was.
func (l *load) scrape(ctx context.Context, totals func(string) bool) {
	before := page{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		shown, err := readPage(ctx, l.url+"/metrics")
		if errors.Is(err, errPage) {
			l.complain("%v", err)
		}
		for id, v := range shown {
			if !totals(id) {
				continue
			}
			if v < before[id] {
				l.complain("a scrape shows %s at %v, after %v", id, v, before[id])
			}
			before[id] = v
		}
	}
}
