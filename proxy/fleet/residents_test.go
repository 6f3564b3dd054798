package fleet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// TestMoveBesideWhatContradicts: a group that the Pushgateway it belongs to would break over
// stays where it is, and others move.
func TestMoveBesideWhatContradicts(t *testing.T) {
	const unchecked = "--push.disable-consistency-check"
	for name, tc := range map[string]struct {
		flags        []string
		there, moves string // paths
		holds, body  string
	}{
		"equal but for an empty label": {nil, "/job/a", "/job/a/instance@base64/=", "x 1\n", "y 1\n"},
		"another type":                 {[]string{unchecked}, "/job/a", "/job/b", "# TYPE x gauge\nx 1\n", "# TYPE x counter\nx 1\n"},
		"the names of a summary":       {[]string{unchecked}, "/job/a", "/job/b", "# TYPE x_sum gauge\nx_sum 1\n", "# TYPE x summary\nx_sum 1\nx_count 1\n"},
		"one series":                   {[]string{unchecked}, "/job/a", "/job/a/run/1", "x{run=\"1\"} 1\n", "x 2\n"},
		"one series, from inside":      {[]string{unchecked}, "/job/a/run/1", "/job/a", "x 2\n", "x{run=\"1\"} 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			home, away := at(t, gatewaytest.Start(t, tc.flags...)), at(t, gatewaytest.Start(t, tc.flags...))
			took := http.StatusOK
			if tc.flags != nil {
				took = http.StatusAccepted
			}
			send(t, home, http.MethodPut, tc.there, tc.holds, took)
			send(t, away, http.MethodPut, tc.moves, tc.body, took)
			send(t, away, http.MethodPut, "/job/fine", "z 1\n", took)
			for u, last := range map[*gateway.Upstream]string{home: `"a"`, away: `"fine"`} {
				eventually(t, func() error { // one that does not check answers first
					if groups := fmt.Sprint(content(t, u)); !strings.Contains(groups, last) {
						return fmt.Errorf("%s holds %s", u.Name(), groups)
					}
					return nil
				})
			}
			stays := content(t, home)[0]
			f := New(Config{Staying: []*gateway.Upstream{home}, Leaving: []*gateway.Upstream{away}})
			if n := list(t, f); n != 3 {
				t.Fatalf("%d groups are listed, want 3", n)
			}
			hold := func(context.Context, wire.Key) (func(), bool) { return func() {}, true }
			for range 2 {
				f.Move(t.Context(), hold)
			}
			eventually(t, func() error {
				if at := content(t, away); len(at) != 1 || strings.Contains(at[0], `"fine"`) {
					return fmt.Errorf("the one that leaves holds %v", at)
				}
				return nil
			})
			if at := content(t, home); len(at) != 2 || at[0] != stays {
				t.Errorf("where they belong there are %v, want two and as before %s", at, stays)
			}
			if _, err := home.Families(t.Context()); err != nil {
				t.Errorf("its page: %v", err)
			}
			strays(t, f, 0, 1)
			if refused := f.stats.refused.Load(); refused != 1 {
				t.Errorf("%d refused, want 1", refused)
			}
		})
	}
}
