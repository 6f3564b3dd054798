package proxy_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestLostAnswersAreReadBack loses the answer of a push that the Pushgateway has
// taken, and of one that never came there: both are billed until the guard has
// looked, and then the one that is there.
func TestLostAnswersAreReadBack(t *testing.T) {
	behind := gatewaytest.Start(t)
	forward := httputil.NewSingleHostReverseProxy(behind)
	const passing, swallowed, unanswered = 0, 1, 2
	var fault atomic.Int32
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && fault.Load() != passing {
			if fault.Load() == unanswered {
				forward.ServeHTTP(httptest.NewRecorder(), r)
			}
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	defer up.Close()
	at, _ := url.Parse(up.URL)
	g := newGuard(t, at, setup{policy: openAll})

	g.push(t, 200, http.MethodPut, "/metrics/job/kept", "a 1\nb 1\n")
	fault.Store(swallowed)
	g.push(t, http.StatusBadGateway, http.MethodPut, "/metrics/job/kept", "c 1\n")
	g.push(t, http.StatusBadGateway, http.MethodPut, "/metrics/job/never", "a 1\n")
	fault.Store(unanswered)
	g.push(t, http.StatusBadGateway, http.MethodPut, "/metrics/job/taken", "a 1\nb 1\n")
	fault.Store(passing)
	held := func() string {
		return ownMetric(t, g, "pushguard_series_held", "kept") + " " +
			ownMetric(t, g, "pushguard_series_held", "never") + " " + ownMetric(t, g, "pushguard_series_held", "taken")
	}
	if got := held(); got != "5 3 4" {
		t.Errorf("held %q while nobody can tell, want what may be there: 5 3 4", got)
	}
	eventually(t, func() error {
		g.push(t, 200, http.MethodPost, "/metrics/job/other", "a 1\n")
		if got := held(); got != "4  4" {
			return fmt.Errorf("held %q, want what the Pushgateway holds: 4, nothing and 4", got)
		}
		return nil
	})
}
