package e2e

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// The versions whose answers the captures hold.
const (
	debian   = "1.5.1"  // the version the tests run
	upstream = "1.11.3" // the version only the captures can show
)

// deviation is a documented difference between the guard and the Pushgateway
// behind it. In all of them the guard answers by itself and writes nothing.
type deviation struct {
	status int
	body   string // what the body has to contain
	reason string
}

// redirected: the Pushgateway answers a redirect, which prom-client and
// prometheus-cpp take for success, so that the push is lost without a word.
var redirected = deviation{
	status: http.StatusBadRequest,
	reason: "a redirect loses the push of some clients in silence",
}

// deviations are all the captures that the guard answers otherwise than the
// Pushgateway 1.5.1 does.
var deviations = map[string]deviation{
	"cpp-1.0.1--grouping-slash":                      redirected, // path//var
	"go-1.25.0--grouping-space-plus-percent":         redirected, // dot/..
	"java-0.16.0--grouping-space-plus-percent":       redirected,
	"python-0.16.0--grouping-space-plus-percent":     redirected,
	"python-0.25.0--grouping-space-plus-percent":     redirected,
	"node-15.1.3--gateway-prefix":                    redirected, // /gw//metrics
	"ruby-4.2.5--gateway-prefix-trailing-slash":      redirected,
	"rubymmap-0.16.2--gateway-prefix-trailing-slash": redirected,
	"shell--curl-double-slash":                       redirected,
	"node-15.1.3--grouping-slash": {
		status: http.StatusBadRequest,
		body:   "odd number of components",
		reason: "%2F before a slash: 1.5.1 redirects, 1.11.3 answers; the newer answer counts",
	},
	"go-1.25.0--utf8-metric-name-protobuf-allow-utf8": {
		status: http.StatusBadRequest,
		body:   "http.server.requests",
		reason: "1.5.1 records the refused push as a group, and exposes names as they came where it does not refuse them",
	},
}

// shipped is the policy that pushguard ships, in the given mode.
func shipped(t *testing.T, mode string) string {
	t.Helper()
	path := filepath.Join(world.Root(), "deploy", "policy.example.yml")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(content), "mode: enforce\n") != 1 {
		t.Fatalf("%s does not say mode: enforce exactly once", path)
	}
	return strings.Replace(string(content), "mode: enforce\n", "mode: "+mode+"\n", 1)
}

// TestCaptures replays what real clients sent, to a guard that changes nothing
// and to a Pushgateway without one, and holds the guard to both: to the answers
// recorded from 1.5.1 and to the state of its bare neighbour.
func TestCaptures(t *testing.T) {
	t.Parallel()
	captures := world.Captures(t)
	if len(captures) != 184 {
		t.Errorf("%d captures, want all 184", len(captures))
	}
	for mode, policy := range map[string]string{"open": world.OpenPolicy, "report": shipped(t, "report")} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			bare := world.Pushgateway(t, "--web.enable-admin-api")
			behind := world.Pushgateway(t, "--web.enable-admin-api")
			guard := world.Guard(t, world.GuardOptions{
				Upstream: behind,
				Policy:   world.Write(t, "policy.yml", policy),
				Flags:    []string{"--web.enable-admin-api"},
			})
			for _, c := range captures {
				t.Run(c.Name, func(t *testing.T) {
					bare.Wipe(t)
					guard.Wipe(t)
					holdCapture(t, c, bare, behind, guard)
				})
			}
		})
	}
}

func holdCapture(t *testing.T, c world.Capture, bare, behind, guard *world.Process) {
	t.Helper()
	want, got := bare.Send(t, c.Request), guard.Send(t, c.Request)
	if d, deviates := deviations[c.Name]; deviates {
		holdDeviation(t, d, c, got)
		behind.Unchanged(t, world.State{})
		return
	}
	holdRecorded(t, c.Pushgateway[debian], got)
	holdGroups(t, c.Pushgateway[debian], behind.State(t))
	holdSame(t, want, got)
	if diff := cmp.Diff(bare.State(t), behind.State(t)); diff != "" {
		t.Errorf("the state differs from that of a Pushgateway without a guard (-bare +guarded):\n%s", diff)
	}
}

// TestCapturesEnforced replays them under the policy that pushguard ships: what
// a Pushgateway takes from a real client the guard takes too, cleaned or not,
// and Prometheus takes all that is behind it.
func TestCapturesEnforced(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t, "--web.enable-admin-api")
	guard := world.Guard(t, world.GuardOptions{
		Upstream: behind,
		Policy:   world.Write(t, "policy.yml", shipped(t, "enforce")),
		Flags:    []string{"--web.enable-admin-api"},
	})
	for _, c := range world.Captures(t) {
		if _, deviates := deviations[c.Name]; deviates {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			guard.Wipe(t)
			want := c.Pushgateway[debian]
			if got := guard.Send(t, c.Request); got.Status != want.Status {
				t.Errorf("status %d %q, recorded %d %q", got.Status, got.Body, want.Status, want.Body)
			}
			guard.Scrape(t, "")
		})
	}
}

func holdDeviation(t *testing.T, d deviation, c world.Capture, got world.Answer) {
	t.Helper()
	if got.Status != d.status || !strings.Contains(got.Body, d.body) {
		t.Errorf("answer %d %q, want %d with %q (%s; recorded of 1.11.3: %d %q)",
			got.Status, got.Body, d.status, d.body, d.reason, c.Pushgateway[upstream].Status, c.Pushgateway[upstream].Body)
	}
	holdRefusal(t, got)
}

// holdRefusal checks what every refusal of the guard's own has to be: text that
// no browser takes for anything else, and that says something.
func holdRefusal(t *testing.T, got world.Answer) {
	t.Helper()
	if got.Status < 400 || got.Status > 499 {
		t.Errorf("status %d, want 4xx: %q", got.Status, got.Body)
	}
	if ct := got.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
		t.Errorf("Content-Type %q, want text/plain", ct)
	}
	if got.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("no X-Content-Type-Options: nosniff")
	}
	if len(strings.TrimSpace(got.Body)) < len("unexpected EOF") {
		t.Errorf("the body says too little: %q", got.Body)
	}
}

func holdRecorded(t *testing.T, want world.Recorded, got world.Answer) {
	t.Helper()
	if got.Status != want.Status {
		t.Errorf("status %d, recorded %d; body %q, recorded %q", got.Status, want.Status, got.Body, want.Body)
	}
	if g, w := class(got.Body), class(want.Body); g != w {
		t.Errorf("body %q, recorded %q", g, w)
	}
}

func holdGroups(t *testing.T, want world.Recorded, state world.State) {
	t.Helper()
	if len(state) != len(want.Groups) {
		t.Errorf("groups %v, recorded %v", state.Keys(), want.Groups)
	}
	for _, w := range want.Groups {
		g, ok := state.Group(w.Labels)
		if !ok {
			t.Errorf("group %v is missing, there are %v", w.Labels, state.Keys())
			continue
		}
		if len(g.Families) != w.Families || g.Pushed != w.Pushed {
			t.Errorf("group %v: %d families, last push successful %t, recorded %d and %t",
				w.Labels, len(g.Families), g.Pushed, w.Families, w.Pushed)
		}
	}
}

// class is what must be equal of two bodies: the first line, up to the place
// from which versions and chance differ.
func class(body string) string {
	line, _, _ := strings.Cut(body, "\n")
	if i := strings.IndexAny(line, `:"{<`); i >= 0 {
		line = line[:i]
	}
	return strings.TrimSpace(line)
}
