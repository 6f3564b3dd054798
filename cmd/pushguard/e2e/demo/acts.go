package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// act is something that jobs do, and what they count by it.
type act struct {
	says    string
	job     string
	counter string
	counted float64
	// pushes are what is sent, in turn or all at once; group is what stands behind
	// the job in the path.
	pushes []string
	atOnce bool
	group  string
}

var acts = []act{
	{
		says: "ten tasks fail at once, each pushes failure_count 1", job: "nightly_load",
		counter: "failure_count", counted: 10, pushes: ten("failure_count 1\n"), atOnce: true,
	},
	{
		says: "the same with a run_id in the key, which mapped tasks share", job: "nightly_export",
		counter: "failure_count", counted: 10, pushes: ten("failure_count 1\n"), atOnce: true, group: "/run_id/manual__2026-01-01",
	},
	{
		says: "a task pushes its total as it grows: 5, 15, 25, 25", job: "nightly_rows",
		counter: "rows_total", counted: 25,
		pushes: []string{rows(5, 1), rows(15, 1), rows(25, 1), rows(25, 1)},
	},
	{
		says: "two runs one after the other load 3 rows each", job: "nightly_twice",
		counter: "rows_total", counted: 6, pushes: []string{rows(3, 1), rows(3, 2)},
	},
}

func ten(body string) []string {
	bodies := make([]string, 10)
	for i := range bodies {
		bodies[i] = body
	}
	return bodies
}

// rows is a push as Python's client writes it: a counter, and when it was created.
func rows(n, run int) string {
	return fmt.Sprintf("# TYPE rows_total counter\nrows_total %d\n# TYPE rows_created gauge\nrows_created 176722560%d.5\n", n, run)
}

// play sends the pushes of the act.
func (a *act) play(ctx context.Context, url string) error {
	if !a.atOnce {
		for _, body := range a.pushes {
			if err := push(ctx, url+"/metrics/job/"+a.job+a.group, body); err != nil {
				return err
			}
		}
		return nil
	}
	errs := make([]error, len(a.pushes))
	var all sync.WaitGroup
	for i, body := range a.pushes {
		all.Go(func() { errs[i] = push(ctx, url+"/metrics/job/"+a.job+a.group, body) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func push(ctx context.Context, url, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode/100 != 2 {
		err = fmt.Errorf("POST %s: %s: %s", url, answer.Status, text)
	}
	return err
}

// sum reads /metrics and adds up the series of a job's counter.
func sum(ctx context.Context, url, counter, job string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	total, lines := 0.0, bufio.NewScanner(answer.Body)
	for lines.Scan() {
		series, value, ok := strings.Cut(lines.Text(), "} ")
		if !ok || !strings.HasPrefix(series, counter+"{") || !strings.Contains(series, fmt.Sprintf("job=%q", job)) {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, err
		}
		total += v
	}
	return total, lines.Err()
}
