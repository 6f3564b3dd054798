package e2e

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestTransparent sends every request to a Pushgateway and to a guard that
// permits everything, and wants the same answer and the same state.
func TestTransparent(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name  string
		flags []string
	}{
		{name: "plain"},
		{name: "admin", flags: []string{"--web.enable-admin-api"}},
	} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			bare := world.Pushgateway(t, mode.flags...)
			behind := world.Pushgateway(t, mode.flags...)
			guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: mode.flags})
			cases := slices.Concat(pushCases, framingCases, otherCases)
			if mode.name == "admin" {
				cases = slices.DeleteFunc(cases, func(c protocolCase) bool { return !strings.Contains(c.name, "wipe") })
			}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { sameBothWays(t, c, bare, behind, guard) })
			}
		})
	}
}

// unclean finds the segments for which a Pushgateway redirects to the path
// without them.
var unclean = regexp.MustCompile(`//|/\.\.?(/|$)`)

func sameBothWays(t *testing.T, c protocolCase, bare, behind, guard *world.Process) {
	empty(t, bare)
	empty(t, guard)
	for _, p := range []*world.Process{bare, guard} {
		if a := p.Push(t, seedPath, seedBody); a.Status != http.StatusOK {
			t.Fatalf("the seed: %d %s", a.Status, a.Body)
		}
	}
	seeded := behind.State(t)
	want, got := send(t, c, bare), send(t, c, guard)
	if c.half || want.Status >= 300 && want.Status < 400 && writes(c) {
		// Here the guard must not do as the Pushgateway does. To the clients that
		// follow it, a redirect of no group's path ends in 404.
		status := http.StatusBadRequest
		if !c.half && !unclean.MatchString(c.request.Target) {
			status = http.StatusNotFound
		}
		if got.Status != status {
			t.Errorf("status %d %q, want %d where a Pushgateway answers %d", got.Status, got.Body, status, want.Status)
		}
		holdRefusal(t, got)
		behind.Unchanged(t, seeded)
		return
	}
	holdSame(t, want, got)
	holdContent(t, want, got)
	if c.request.Method == http.MethodDelete || strings.Contains(c.name, "wipe") {
		fence(t, bare, "")
		fence(t, behind, "")
	}
	if diff := cmp.Diff(bare.State(t), behind.State(t)); diff != "" {
		t.Errorf("the state differs from that of a Pushgateway without a guard (-bare +guarded):\n%s", diff)
	}
}

func send(t *testing.T, c protocolCase, p *world.Process) world.Answer {
	t.Helper()
	if c.raw == "" {
		return p.Send(t, c.request)
	}
	return p.SendBytes(t, http.MethodPost, []byte(strings.ReplaceAll(c.raw, "ADDR", p.Addr)))
}

func writes(c protocolCase) bool {
	m := c.request.Method
	return m == "" || m == http.MethodPut || m == http.MethodDelete
}

// empty deletes every group through the process, so that a guard that keeps a
// book of groups knows of it.
func empty(t *testing.T, p *world.Process) {
	t.Helper()
	for _, g := range p.State(t) {
		if a := p.Send(t, method("DELETE", groupPath(g.Key))); a.Status != http.StatusAccepted {
			t.Fatalf("DELETE of %v: %d %s", g.Key, a.Status, a.Body)
		}
	}
	p.Push(t, seedPath, "") // as fence, and through the guard
}

// fence waits until a Pushgateway has done what it has answered: deletes and a wipe are
// queued, and a push waits for what is before it in the queue.
func fence(t *testing.T, p *world.Process, prefix string) {
	t.Helper()
	mustPush(t, p, prefix+"/metrics/job/fence", "")
}

// groupPath is the path of a group, whatever its values are.
func groupPath(key map[string]string) string {
	path := "/metrics/job@base64/" + encoded(key["job"])
	for name, value := range key {
		if name != "job" {
			path += "/" + name + "@base64/" + encoded(value)
		}
	}
	return path
}

// sameHeaders are the headers a client may go by.
var sameHeaders = []string{
	"Content-Type", "Content-Encoding", "Content-Range", "Allow", "X-Content-Type-Options", "Location", "Cache-Control",
	"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
	"Access-Control-Expose-Headers", "Retry-After", "Www-Authenticate", "Last-Modified", "Connection",
}

// holdSame checks that two answers are the same to a client.
func holdSame(t *testing.T, want, got world.Answer) {
	t.Helper()
	if got.Status != want.Status {
		t.Errorf("status %d %q, without a guard %d %q", got.Status, got.FirstLine(), want.Status, want.FirstLine())
	}
	for _, name := range sameHeaders {
		if g, w := got.Header.Get(name), want.Header.Get(name); g != w {
			t.Errorf("%s: %q, without a guard %q", name, g, w)
		}
	}
	if g, w := class(got.Plain()), class(want.Plain()); g != w {
		t.Errorf("body %q, without a guard %q", g, w)
	}
}

var ownSeries = regexp.MustCompile(`(?m)^(?:# \w+ )?(?:go|process|promhttp|pushgateway|pushguard)_.*\n`)

// holdContent compares what else can be compared of a body: JSON by its keys, a
// text scrape by its lines.
func holdContent(t *testing.T, want, got world.Answer) {
	t.Helper()
	contentType := want.Header.Get("Content-Type")
	if want.Status != http.StatusOK {
		return
	}
	switch {
	case strings.HasPrefix(contentType, "application/json"):
		if diff := cmp.Diff(keys(t, want.Plain()), keys(t, got.Plain())); diff != "" {
			t.Errorf("the JSON differs (-bare +guarded):\n%s", diff)
		}
	case strings.HasPrefix(contentType, "text/plain; version=0.0.4"):
		times := regexp.MustCompile(`(?m)^(push_time_seconds\{.*\}) .*$`)
		plain := func(s string) string { return times.ReplaceAllString(ownSeries.ReplaceAllString(s, ""), "$1") }
		if diff := cmp.Diff(plain(want.Plain()), plain(got.Plain())); diff != "" {
			t.Errorf("the scrape differs (-bare +guarded):\n%s", diff)
		}
	}
}

func keys(t *testing.T, body string) []string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for k := range v {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// TestTransparentUnderAPrefix does the same where the guard and the Pushgateway
// have a route prefix, in which everything lives but the last resort /-/quit.
func TestTransparentUnderAPrefix(t *testing.T) {
	t.Parallel()
	const prefix = "/push/gw"
	bare := world.Pushgateway(t, "--web.route-prefix="+prefix)
	behind := world.Pushgateway(t, "--web.route-prefix="+prefix)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Prefix: prefix})
	for _, c := range []protocolCase{
		{name: "push", request: post(prefix+"/metrics/job/x/a/b", onePush)},
		{name: "push to base64", request: post(prefix+"/metrics/job@base64/YS9i", onePush)},
		{name: "put", request: world.Request{Method: "PUT", Target: prefix + "/metrics/job/x/a/b", Body: "other 1\n"}},
		{name: "delete", request: method("DELETE", prefix+"/metrics/job/x/a/b")},
		{name: "bad path", request: post(prefix+"/metrics/job/x/a", onePush)},
		{name: "push without the prefix", request: post("/metrics/job/x", onePush)},
		{name: "push with half of the prefix", request: post("/push/metrics/job/x", onePush)},
		{name: "push with the prefix twice", request: post(prefix+prefix+"/metrics/job/x", onePush)},
		{name: "scrape", request: method("GET", prefix+"/metrics")},
		{name: "scrape without the prefix", request: method("GET", "/metrics")},
		{name: "page", request: method("GET", prefix+"/")},
		{name: "page without its slash", request: method("GET", prefix)},
		{name: "root", request: method("GET", "/")},
		{name: "API", request: method("GET", prefix+"/api/v1/metrics")},
		{name: "healthy", request: method("GET", prefix+"/-/healthy")},
		{name: "healthy without the prefix", request: method("GET", "/-/healthy")},
		{name: "get quit", request: method("GET", "/-/quit")},
		{name: "post quit", request: post("/-/quit", "")},
		{name: "post quit under the prefix", request: post(prefix+"/-/quit", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			want, got := send(t, c, bare), send(t, c, guard)
			holdSame(t, want, got)
			fence(t, bare, prefix)
			fence(t, behind, prefix)
			if diff := cmp.Diff(bare.StateUnder(t, prefix), behind.StateUnder(t, prefix)); diff != "" {
				t.Errorf("the state differs (-bare +guarded):\n%s", diff)
			}
		})
	}
}
