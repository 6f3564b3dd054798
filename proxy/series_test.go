package proxy_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// TestJobNamedAsTheOthers has a job that is named as those are that the guard's metrics
// do not name. Two samples of one name would end the whole page, and with it every alert.
func TestJobNamedAsTheOthers(t *testing.T) {
	g := newGuard(t, gatewaytest.Start(t), setup{policy: "version: v1\ndefault: {mode: report, budget: {series: 9}}\n"})
	for _, job := range []string{"named", "__other__", strings.Repeat("long", 51)} {
		g.push(t, 200, http.MethodPost, "/metrics/job/"+job, "rows 1\n")
	}
	for job, want := range map[string]string{"named": "3", "__other__": "6"} {
		if got := ownMetric(t, g, "pushguard_series_held", job); got != want {
			t.Errorf("%s: %q series are held, want %s\n%.500s", job, got, want, g.metrics())
		}
	}
}
