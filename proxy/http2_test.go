package proxy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestAnswersByHTTP2Count: a client that has what it wanted of an answer, as Go's has that
// of a push with its status, and resets the request before the last frame of that, was
// answered; what it pushes next is no retry.
func TestAnswersByHTTP2Count(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: countedPolicy})
	s := httptest.NewUnstartedServer(g)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	const clients, pushes = 8, 100
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for range pushes {
				r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, s.URL+"/metrics/job/a", strings.NewReader("rows_total 1\n"))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := s.Client().Do(r)
				if err != nil {
					t.Error(err)
					return
				}
				_ = resp.Body.Close() // unread
				if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
					t.Errorf("%s %d", resp.Proto, resp.StatusCode)
				}
			}
		})
	}
	all.Wait()
	if got := g.page(t)[`{__name__="rows_total", instance="", job="a"}`]; got != clients*pushes {
		t.Errorf("%d pushes were answered 200, and %v counted", clients*pushes, got)
	}
}
