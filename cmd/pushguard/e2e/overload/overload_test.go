package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// TestOffer sends every push of every class, and tells what became of each.
func TestOffer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "greedy"):
			w.WriteHeader(http.StatusServiceUnavailable)
		case strings.Contains(r.URL.Path, "new"):
			w.WriteHeader(http.StatusTeapot)
		}
	}))
	defer s.Close()
	got := newClient(s.URL, 1).offer(t.Context(), 600, classes, 500*time.Millisecond)
	for i, want := range []tally{{offered: 50, accepted: 50}, {offered: 100, shed: 100}, {offered: 150, other: 150}} {
		waits := len(got[i].waits)
		if got[i].other > 0 && !strings.Contains(got[i].failure, "418") {
			t.Errorf("%s: failed as %q", classes[i].name, got[i].failure)
		}
		if got[i].waits = nil; got[i].offered != want.offered || got[i].accepted != want.accepted || got[i].shed != want.shed || got[i].other != want.other || waits != want.accepted {
			t.Errorf("%s: %+v with %d waits, want %+v", classes[i].name, got[i], waits, want)
		}
	}
}

// TestTable prints medians of the rounds.
func TestTable(t *testing.T) {
	round := func(accepted, shed int, wait time.Duration) []tally {
		one := tally{offered: accepted + shed, accepted: accepted, shed: shed}
		for range accepted {
			one.waits = append(one.waits, wait)
		}
		return []tally{one, one, one}
	}
	calm := rounds{round(10, 0, time.Millisecond), round(10, 0, time.Millisecond), round(10, 0, time.Second)}
	storm := rounds{round(5, 15, 4*time.Millisecond), round(5, 15, 4*time.Millisecond), round(20, 0, time.Second)}
	var out bytes.Buffer
	if err := table(&out, calm, storm); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"p99 of accepted pushes: 4.0 times", "75.0%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing:\n%s", want, out.String())
		}
	}
	storm[0][0].other, storm[1][0].other, storm[1][0].failure = 1, 1, "status 418"
	if err := table(&out, calm, storm); err == nil || !strings.Contains(err.Error(), "status 418") {
		t.Errorf("pushes that failed: %v", err)
	}
}

// TestOverload offers a real guard a little, and has every push be taken or shed.
func TestOverload(t *testing.T) {
	world.Need(t, world.PushgatewayPath) // whose version is told
	var out bytes.Buffer
	err := run(t.Context(), options{series: 10, rounds: 1, duration: 300 * time.Millisecond, guard: world.Binary(t)}, &out)
	t.Logf("%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
}
