package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestFleetUnderLoad loads three guards with one real Redis, and one alone: sums are
// exact, and no job has one series more than its budget, which all of them use up.
func TestFleetUnderLoad(t *testing.T) {
	for _, part := range []string{server.Pushgateway, "redis-server", "redis-cli"} {
		world.Need(t, part)
	}
	o := options{jobs: 20, connections: 16, guards: 3, series: 20, duration: time.Second, guard: world.Binary(t)}
	if err := run(t.Context(), o, t.Output()); err != nil {
		t.Error(err)
	}
}

// TestJudge: a sum that is not that of the pushes is found, and a budget that is exceeded.
func TestJudge(t *testing.T) {
	for _, tc := range []struct{ name, guard, gateway, want string }{
		{"as it should be", `pushes{job="j0"} 3`, `a{job="j0"} 1`, ""},
		{"one without an answer counted", `pushes{job="j0"} 4`, `a{job="j0"} 1`, ""},
		{"one that counted twice", `pushes{job="j0"} 5`, `a{job="j0"} 1`, "says 5 of job j0, of which 3 pushes were taken"},
		{"one that is lost", `pushes{job="j0"} 2`, `a{job="j0"} 1`, "says 2 of job j0"},
		{"one series too many", `pushes{job="j0"} 3`, "a{job=\"j0\"} 1\nb{job=\"j0\"} 1", "job j0 has 2 series, of 1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var pages []string
			for _, body := range []string{tc.guard, tc.gateway} {
				s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body + "\n")) }))
				defer s.Close()
				pages = append(pages, s.URL)
			}
			l := load{guards: pages[:1], sent: make([]atomic.Int64, 1), unknown: make([]atomic.Int64, 1), patience: time.Millisecond}
			l.sent[0].Store(3)
			l.unknown[0].Store(1)
			err := l.judge(options{series: 1}, pages[1], func(verdict) {})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}
