package fleet

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestOneByTwoNames has a Pushgateway be in the list twice, as itself and by the name that it
// had before: nothing is deleted, on no page twice, and the log says so.
func TestOneByTwoNames(t *testing.T) {
	where := gatewaytest.Start(t)
	by := func(host string) *gateway.Upstream {
		return at(t, &url.URL{Scheme: "http", Host: host + ":" + where.Port()})
	}
	const groups = 10
	for name, cfg := range map[string]Config{
		"both stay":  {Staying: []*gateway.Upstream{by("127.0.0.1"), by("localhost")}},
		"one leaves": {Staying: []*gateway.Upstream{by("127.0.0.1")}, Leaving: []*gateway.Upstream{by("localhost")}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			f := New(cfg)
			list(t, f)
			for i := range groups {
				push(t, f, http.MethodPut, i, "x 1\n")
			}
			for range 2 {
				if n := list(t, f); n != groups {
					t.Fatalf("%d groups are listed, want %d\n%s", n, groups, &log)
				}
				f.Move(t.Context(), holdAny)
			}
			strays(t, f, 0, 0)
			page := strings.Join(pageOf(t, f), "\n")
			if n := len(content(t, cfg.Staying[0])); n != groups || strings.Count(page, "x{") != groups {
				t.Errorf("%d of %d groups are left, and on the page\n%s", n, groups, page)
			}
			if n := strings.Count(log.String(), "of one Pushgateway"); n != 1 {
				t.Errorf("told %d times:\n%s", n, &log)
			}
		})
	}
}
