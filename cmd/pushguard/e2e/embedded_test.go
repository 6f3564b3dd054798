package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// embedded is a guard that keeps the snapshots itself.
func embedded(t testing.TB, policy string, flags ...string) *world.Process {
	t.Helper()
	return world.Guard(t, world.GuardOptions{Policy: world.Write(t, "policy.yml", policy), Flags: append(flags, "--web.enable-admin-api")})
}

// embeddedDeviations are the captures that it answers otherwise than 1.11.3.
var embeddedDeviations = map[string]deviation{
	"go-1.25.0--utf8-metric-name-protobuf-allow-utf8": {
		body:   "http.server.requests",
		reason: "1.11.3 takes any name in protobuf and escapes it on the page, where two names may become one",
	},
}

// TestCapturesEmbedded replays what real clients sent to a guard that keeps the
// snapshots itself, and holds it to the answers recorded from a Pushgateway 1.11.3
// and to the groups that were there then. Where that did as 1.5.1 does, what the
// guard stores is held to what 1.5.1 stores.
func TestCapturesEmbedded(t *testing.T) {
	t.Parallel()
	bare := world.Pushgateway(t, "--web.enable-admin-api")
	guard := embedded(t, world.OpenPolicy)
	for _, c := range world.Captures(t) {
		t.Run(c.Name, func(t *testing.T) {
			bare.Wipe(t)
			guard.Wipe(t)
			want := c.Pushgateway[upstream]
			got := guard.Send(t, c.Request)
			if d, ok := embeddedDeviations[c.Name]; ok || want.Status == 301 || want.Status == 307 {
				holdRefusal(t, got)
				if !strings.Contains(got.Body, d.body) {
					t.Errorf("%q (%s)", got.Body, d.reason)
				}
				return
			}
			holdRecorded(t, want, got)
			state := guard.State(t)
			holdGroups(t, want, state)
			if len(state) > 0 {
				guard.Scrape(t, "")
			}
			older := c.Pushgateway[debian]
			if older.Status != want.Status || class(older.Body) != class(want.Body) {
				return
			}
			bare.Send(t, c.Request)
			stored := bare.State(t)
			withoutNative(state, stored)
			if diff := cmp.Diff(stored, state); diff != "" {
				t.Errorf("the groups differ from those of a Pushgateway 1.5.1 (-1.5.1 +guard):\n%s", diff)
			}
		})
	}
}

// withoutNative takes the families out of both that are listed with native buckets, of
// which a Pushgateway 1.5.1 knows nothing.
func withoutNative(listed, older world.State) {
	for i, g := range listed {
		for name, f := range g.Families {
			native := func(series string) bool { return strings.Contains(series, `"buckets":[`) }
			if slices.ContainsFunc(f.Series, native) && i < len(older) {
				delete(g.Families, name)
				delete(older[i].Families, name)
			}
		}
	}
}

// TestEmbeddedLikeAPushgateway runs a long random sequence of pushes and deletes
// against a guard that keeps the snapshots itself and against Debian's Pushgateway:
// types that clash, suffixes that do, series that two groups would have, series twice
// and timestamps among them. Answers, groups and pages must be the same.
func TestEmbeddedLikeAPushgateway(t *testing.T) {
	t.Parallel()
	bare := world.Pushgateway(t)
	guard := embedded(t, world.OpenPolicy)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range 1500 {
		request := randomRequest(r)
		want, got := bare.Send(t, request), guard.Send(t, request)
		if got.Status != want.Status || class(got.Body) != class(want.Body) {
			t.Fatalf("request %d, %s %s\n%s\nis answered %d %q, by a Pushgateway %d %q", i, request.Method, request.Target, request.Body, got.Status, got.Body, want.Status, want.Body)
		}
		if i%10 > 0 && i > 50 {
			continue
		}
		fence(t, bare, "")
		fence(t, guard, "")
		state := guard.State(t)
		if diff := cmp.Diff(bare.State(t), state); diff != "" {
			t.Fatalf("after request %d, %s %s\n%s\nthe groups differ (-Pushgateway +guard):\n%s", i, request.Method, request.Target, request.Body, diff)
		}
		if len(state) == 1 { // that of the fence
			continue // an empty page is none to a Pushgateway, which has its own metrics on it
		}
		if diff := cmp.Diff(pushed(bare.Scrape(t, "")), pushed(guard.Scrape(t, ""))); diff != "" {
			t.Fatalf("after request %d the pages differ (-Pushgateway +guard):\n%s", i, diff)
		}
	}
}

// pushed are the samples of a page but for times and what a server says of itself.
func pushed(all world.Samples) map[string]string {
	out := map[string]string{}
	for series, value := range all {
		if strings.Contains(series, `job="model`) && !strings.Contains(series, "push_time_seconds") && !strings.Contains(series, "push_failure_time_seconds") && !strings.Contains(series, "pushguard_job_findings") {
			out[series] = fmt.Sprint(value) // NaN is NaN
		}
	}
	return out
}

func randomRequest(r *rand.Rand) world.Request {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	request := world.Request{
		Method: pick("PUT", "POST", "POST", "POST", "DELETE"),
		Target: "/metrics/job/model" + pick("", "", "2") + pick("", "", "/instance/a", "/instance/b", "/zone/z", "/instance/a/zone/z"),
	}
	if request.Method == "DELETE" {
		return request
	}
	for range r.IntN(4) {
		request.Body += randomFamily(r, pick)
	}
	return request
}

// randomFamily is a family of few names and types, so that they clash.
func randomFamily(r *rand.Rand, pick func(...string) string) string {
	name := pick("x", "y", "x_count", "x_sum", "x_bucket", "z_total")
	labels := func(more string) string {
		all := []string{}
		for _, l := range []string{`instance="a"`, `zone="z"`, `t="1"`, `t2="\\\"\n"`} {
			if r.IntN(4) == 0 {
				all = append(all, l)
			}
		}
		if more != "" {
			all = append(all, more)
		}
		if len(all) == 0 {
			return ""
		}
		return "{" + strings.Join(all, ",") + "}"
	}
	help := pick("", "", "# HELP "+name+" Some \\\\ help.\n")
	value := pick("0", "1", "-3.5", "1e6", "NaN", "+Inf", "12345678")
	if strings.Contains(name, "_") { // it may be a count, of which 1.5.1 takes what later ones do not
		value = pick("0", "1", "7", "12345678")
	}
	switch typ := pick("untyped", "gauge", "counter", "histogram", "summary", ""); typ {
	case "histogram":
		ls := labels("")
		inner := strings.Trim(ls, "{}")
		if inner != "" {
			inner += ","
		}
		return help + "# TYPE " + name + " histogram\n" + name + "_bucket{" + inner + `le="1"} 2` + "\n" +
			pick("", name+"_bucket{"+inner+`le="+Inf"} 5`+"\n") + pick("", name+"_sum"+ls+" 4.5\n") + name + "_count" + ls + " 5\n"
	case "summary":
		ls := labels("")
		return help + "# TYPE " + name + " summary\n" + name + labels(`quantile="0.5"`) + " 2\n" + name + "_sum" + ls + " 4.5\n" + name + "_count" + ls + " 5\n"
	default:
		if typ != "" {
			help += "# TYPE " + name + " " + typ + "\n"
		}
		out := help
		for range 1 + r.IntN(2) {
			out += name + labels("") + " " + value + pick("", "", "", "", "", "", "", "", "", "", " 1700000000000") + "\n"
		}
		return out
	}
}

// TestUTF8NamesEmbedded: with the flag, names of any UTF-8 are taken as 1.11.3 took
// them with it, and are on the page as Prometheus reads them.
func TestUTF8NamesEmbedded(t *testing.T) {
	t.Parallel()
	const withFlag = upstream + " --push.enable-utf8-names"
	guard := embedded(t, world.OpenPolicy, "--push.enable-utf8-names")
	told := 0
	for _, c := range world.Captures(t) {
		want, ok := c.Pushgateway[withFlag]
		if !ok {
			continue
		}
		told++
		t.Run(c.Name, func(t *testing.T) {
			guard.Wipe(t)
			holdRecorded(t, want, guard.Send(t, c.Request))
			holdGroups(t, want, guard.State(t))
			guard.Scrape(t, "")
		})
	}
	if told < 5 {
		t.Errorf("%d captures tell of the flag", told)
	}
}

// TestNamesAsPrometheusAsks: a Prometheus 3, which takes names in UTF-8, gets them as from a
// Pushgateway, and not escaped; from a guard before several likewise.
func TestNamesAsPrometheusAsks(t *testing.T) {
	t.Parallel()
	accept := [2]string{"Accept", "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"}
	alone := embedded(t, world.OpenPolicy, "--push.enable-utf8-names")
	write(t, alone, "PUT", "/metrics/job/j", "{\"rows.loaded\",\"of.table\"=\"orders\"} 1\n", 200)
	page := alone.Get(t, "/metrics", accept)
	if want := `{"rows.loaded",instance="",job="j","of.table"="orders"} 1`; !strings.Contains(page.Body, want) {
		t.Errorf("no %s on the page:\n%s", want, page.Body)
	}
	for _, path := range []string{"/metrics/job/j/U__a_3a_b/1", "/metrics/job/j/U__a_2e_b/1/a_b/2"} {
		write(t, alone, "POST", path, "", 400) // the times of the group would be of no name, or of one twice
	}
	before := world.Guard(t, world.GuardOptions{Flags: []string{"--pushgateway.url=" + world.Pushgateway(t).URL, "--pushgateway.url=" + world.Pushgateway(t).URL}})
	const want = "text/plain; version=0.0.4; charset=utf-8; escaping=allow-utf-8"
	for _, page := range []world.Answer{page, before.Get(t, "/metrics", accept)} {
		if got := page.Header.Get("Content-Type"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

// TestListedEndpointsEmbedded: quit and wipe do what they do of a Pushgateway, behind
// their flags alone.
func TestListedEndpointsEmbedded(t *testing.T) {
	t.Parallel()
	shut := world.Guard(t, world.GuardOptions{Policy: world.Write(t, "policy.yml", world.OpenPolicy)})
	open := embedded(t, world.OpenPolicy, "--web.enable-lifecycle")
	for _, g := range []*world.Process{shut, open} {
		g.Push(t, "/metrics/job/a", "x 1\n")
	}
	put := func(g *world.Process, path string) world.Answer {
		return g.Send(t, world.Request{Method: "PUT", Target: path})
	}
	if a := put(shut, "/api/v1/admin/wipe"); a.Status != 404 {
		t.Errorf("wipe without its flag: %d %s", a.Status, a.Body)
	}
	if a := put(shut, "/-/quit"); a.Status != 403 || a.Body != "Lifecycle API is not enabled." {
		t.Errorf("quit without its flag: %d %s", a.Status, a.Body)
	}
	if a := shut.Get(t, "/-/quit"); a.Status != 405 || a.Body != "Only POST or PUT requests allowed." {
		t.Errorf("quit by GET: %d %s", a.Status, a.Body)
	}
	if len(shut.State(t)) != 1 {
		t.Error("something was wiped")
	}
	if a := put(open, "/api/v1/admin/wipe"); a.Status != 202 || len(open.State(t)) != 0 {
		t.Errorf("wipe: %d %s", a.Status, a.Body)
	}
	if a := put(open, "/-/quit"); a.Status != 200 || a.Body != "Requesting termination... Goodbye!" {
		t.Errorf("quit: %d %s", a.Status, a.Body)
	}
	world.Eventually(t, func() error {
		if !strings.Contains(open.Logs(), "msg=Stopped") {
			return errors.New("it goes on")
		}
		return nil
	})
}

// TestPrefixWithoutItsSlash asks a Pushgateway and a guard on its own for the route prefix
// alone, as people do who type it: both lead to the page.
func TestPrefixWithoutItsSlash(t *testing.T) {
	t.Parallel()
	const prefix = "/push/gw"
	for _, p := range []*world.Process{world.Pushgateway(t, "--web.route-prefix="+prefix), world.Guard(t, world.GuardOptions{Prefix: prefix})} {
		answer := p.Send(t, method("GET", prefix))
		to, err := (&url.URL{Path: prefix}).Parse(answer.Header.Get("Location"))
		if err != nil {
			t.Fatal(err)
		}
		if answer.Status != http.StatusMovedPermanently || to.Path != prefix+"/" {
			t.Errorf("%s: %d, to %s", p.Name, answer.Status, to)
		}
		if page := p.Send(t, method("GET", to.Path)); page.Status != http.StatusOK {
			t.Errorf("%s: the page: %d", p.Name, page.Status)
		}
	}
}
