package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
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

func TestBreaker(t *testing.T) {
	t.Parallel()
	url, hangs, asked := sick(t)
	const pause = 2 * time.Second // longer than what is tried within it takes
	u := open(t, Config{URL: parse(t, url), Timeout: patient, Breaker: Breaker{Failures: 3, Pause: pause}})
	push := func() error {
		_, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
		return err
	}
	hangs.Store(true)
	for i := range 3 {
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

	time.Sleep(pause * 3 / 2)
	if err := push(); err == nil || errors.Is(err, ErrOpen) {
		t.Fatalf("the one that looks whether it is back: %v", err)
	}
	if err := push(); !errors.Is(err, ErrOpen) {
		t.Fatalf("after it was not: %v", err)
	}
	hangs.Store(false)
	time.Sleep(pause * 3 / 2)
	for range 3 {
		if err := push(); err != nil {
			t.Fatalf("it is back: %v", err)
		}
	}
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
