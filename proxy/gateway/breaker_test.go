package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// sick is a server that does not answer while it is told so.
func sick(t *testing.T) (url string, hangs *atomic.Bool, asked *atomic.Int64) {
	hangs, asked = new(atomic.Bool), new(atomic.Int64)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if hangs.Load() {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusOK)
	}))
	t.Cleanup(s.Close)
	return s.URL, hangs, asked
}

// failing is what a breaker gives up after in these tests.
const failing = 3

// TestBreaker has requests without an answer open it: from then on nothing is sent.
func TestBreaker(t *testing.T) {
	t.Parallel()
	url, hangs, asked := sick(t)
	u := open(t, Config{URL: parse(t, url), Timeout: patient, Breaker: Breaker{Failures: failing, Pause: time.Hour}})
	push := func() error {
		_, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
		return err
	}
	hangs.Store(true)
	for i := range failing {
		if err := push(); err == nil || errors.Is(err, ErrOpen) {
			t.Fatalf("push %d before the breaker opens: %v", i, err)
		}
	}
	before := asked.Load()
	if err := push(); !errors.Is(err, ErrOpen) || !errors.Is(err, ErrUnreachable) {
		t.Fatalf("after three failures: %v", err)
	}
	if status := read(t, u, "/metrics"); status != http.StatusBadGateway {
		t.Errorf("a read is answered %d", status)
	}
	if _, err := u.Groups(t.Context(), 0); !errors.Is(err, ErrOpen) {
		t.Errorf("a listing: %v", err)
	}
	if got := asked.Load(); got != before {
		t.Errorf("%d requests were sent while it was open", got-before)
	}
}

// TestBreakerLooksAgain has it permit one request after each pause, and all once that one
// was answered.
func TestBreakerLooksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const pause = 2 * time.Second
		b := newBreaker(Breaker{Failures: failing, Pause: pause}, "u", slog.New(slog.DiscardHandler))
		ask := func(answer error) error {
			done, err := b.begin()
			if err == nil {
				done(answer)
			}
			return err
		}
		silent := errors.New("no answer")
		for range failing {
			if err := ask(silent); err != nil {
				t.Fatalf("before it opens: %v", err)
			}
		}
		for range 2 {
			time.Sleep(pause - 1)
			if err := ask(nil); !errors.Is(err, ErrOpen) || !b.open() {
				t.Fatalf("within the pause: %v", err)
			}
			time.Sleep(2 * time.Nanosecond)
			if err := ask(silent); err != nil {
				t.Fatalf("the one that looks whether it is back: %v", err)
			}
			if err := ask(nil); !errors.Is(err, ErrOpen) {
				t.Fatalf("after it was not: %v", err)
			}
		}
		time.Sleep(pause + 1)
		for range failing {
			if err := ask(nil); err != nil || b.open() {
				t.Fatalf("it is back: %v", err)
			}
		}
	})
}

// A caller who gives up says nothing of the upstream.
func TestBreakerIgnoresWhoGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if ctx.Err() == nil { // it is the first, whose caller gives up now
			cancel()
			<-r.Context().Done()
		}
	})
	u.breaker = newBreaker(Breaker{Failures: 1, Pause: time.Minute}, "u", u.logger)
	if _, err := u.Do(ctx, Request{Method: http.MethodPut, Key: key("job", "j")}); !errors.Is(err, ErrBroken) {
		t.Fatalf("the one who gave up: %v", err)
	}
	if _, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")}); err != nil {
		t.Errorf("the next: %v", err)
	}
}

func read(t *testing.T, u *Upstream, path string) int {
	t.Helper()
	w := httptest.NewRecorder()
	u.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w.Code
}
