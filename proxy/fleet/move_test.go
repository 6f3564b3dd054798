package fleet

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// everything is what a group can be made of, and what makes it hard to tell from others.
var everything = []struct{ path, body string }{
	{"/job/plain", "# HELP x a gauge\n# TYPE x gauge\nx 1\nx{a=\"b\"} 2.5\n# TYPE c counter\nc{a=\"\"} 3\n"},
	{"/job/plain/run/1", "# HELP x a gauge\n# TYPE x gauge\nx 1\n"},
	{"/job/plain", "# TYPE y gauge\ny{run=\"2\"} 4\n"}, // looks as if it were of the next
	{"/job/plain/run/2", "# HELP x a gauge\n# TYPE x gauge\nx 9\n"},
	{"/job/plain/instance/i", "# TYPE u untyped\nu{a=\"b\"} NaN\nu{a=\"c\"} +Inf\n"},
	{"/job/parts", "# TYPE h histogram\nh_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 3\nh_sum 4.25\nh_count 3\n# TYPE s summary\ns{quantile=\"0.5\"} 0.1\ns_sum 1\ns_count 2\n"},
	{"/job@base64/YS9i/path@base64/L3g", "# HELP x a gauge\n# TYPE x gauge\nx{text=\"a\\\\b\\\"c\\nd\"} 1e-300\n"},
	{"/job/empty/note@base64/=", "# TYPE z gauge\nz 1\n"},
	{"/job/nothing", ""},
}

// TestMoveWhole: whatever a group is made of, it is the same where it belongs.
func TestMoveWhole(t *testing.T) {
	all := real(t, 3)
	for _, g := range everything {
		send(t, all[2], http.MethodPost, g.path, g.body, 200)
	}
	send(t, all[2], http.MethodPost, "/job/failed", "x 1 1\n", 400)
	send(t, all[2], http.MethodPost, "/job/both", "w 1\n", 200)
	send(t, all[2], http.MethodPost, "/job/both", "w 1 1\n", 400)
	send(t, all[2], http.MethodPost, "/job/mended", "w 1 1\n", 400)
	send(t, all[2], http.MethodPost, "/job/mended", "w 1\n", 200)
	before := content(t, all[2])
	f := New(Config{Staying: all[:2], Leaving: all[2:]})
	n := list(t, f)
	page := pageOf(t, f)
	move(t, f)
	emptied(t, all[2])
	after := append(content(t, all[0]), content(t, all[1])...)
	slices.Sort(after)
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("what was moved is not the same (-was +is):\n%s", diff)
	}
	if now := list(t, f); now != n {
		t.Errorf("%d groups are listed, and %d before", now, n)
	}
	// The page is the same, the times of pushes among it: nobody has pushed.
	if diff := gocmp.Diff(page, pageOf(t, f)); diff != "" {
		t.Errorf("the page is not the same (-was +is):\n%s", diff)
	}
}

// TestMoveKeepsAge: a group that was moved is as old as before, until it is pushed to.
func TestMoveKeepsAge(t *testing.T) {
	all := real(t, 3)
	send(t, all[2], http.MethodPost, "/job/a", "x 1\n", 200)
	f := New(Config{Staying: all[:2], Leaving: all[2:]})
	pushed := func() gateway.Group {
		groups, err := f.Groups(t.Context(), 1)
		if err != nil || len(groups) != 1 {
			t.Fatalf("%v, %v", groups, err)
		}
		return groups[0]
	}
	before := pushed()
	move(t, f)
	after := pushed()
	if !after.Pushed.Equal(before.Pushed) || after.Stamp == before.Stamp {
		t.Errorf("pushed at %v, before the move %v", after.Pushed, before.Pushed)
	}
	// A guard that starts again has the Pushgateway's word alone: never an older one.
	started := New(Config{Staying: all[:2], Leaving: all[2:]})
	if groups, err := started.Groups(t.Context(), 1); err != nil || len(groups) != 1 || groups[0].Pushed.Before(before.Pushed) {
		t.Errorf("started again: %v, %v, before the move %v", groups, err, before.Pushed)
	}
	// It moves on: what counts is the push, not the first move.
	g := New(Config{Staying: []*gateway.Upstream{all[1-f.Place(before.Key)]}, Leaving: []*gateway.Upstream{all[f.Place(before.Key)]}})
	g.aged = f.aged
	f = g
	pushed()
	move(t, f)
	if again := pushed(); !again.Pushed.Equal(before.Pushed) {
		t.Errorf("pushed at %v, before the second move %v", again.Pushed, before.Pushed)
	}
	send(t, all[0], http.MethodPost, "/job/a", "x 2\n", 200)
	send(t, all[1], http.MethodPost, "/job/a", "x 2\n", 200)
	if younger := pushed(); !younger.Pushed.After(before.Pushed) {
		t.Errorf("pushed at %v, before %v", younger.Pushed, before.Pushed)
	}
}

// send writes to one upstream past the fleet.
func send(t *testing.T, u *gateway.Upstream, method, path, body string, want int) {
	t.Helper()
	answer, err := u.Forward(t.Context(), "/metrics"+path, gateway.Request{Method: method, Body: []byte(body)})
	if err != nil || answer.Status != want {
		t.Fatalf("%s %s: %d %s %v, want %d", method, path, answer.Status, answer.Body, err, want)
	}
}

// content is what one upstream lists, group by group, without the times of pushes but
// with their order.
func content(t *testing.T, u *gateway.Upstream) []string {
	t.Helper()
	w := httptest.NewRecorder()
	u.Proxy().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/api/v1/metrics", nil))
	var listing struct{ Data []map[string]any }
	if err := json.Unmarshal(w.Body.Bytes(), &listing); err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(listing.Data))
	for _, g := range listing.Data {
		g["failed"] = stampIn(g[failureTimes]) > 0
		delete(g, pushTimes)
		delete(g, failureTimes)
		for _, family := range g {
			if f, ok := family.(map[string]any); ok {
				delete(f, "time_stamp")
				sortMetrics(f["metrics"])
			}
		}
		text, _ := json.Marshal(g)
		out = append(out, string(text))
	}
	slices.Sort(out)
	return out
}

func sortMetrics(metrics any) {
	if all, ok := metrics.([]any); ok {
		slices.SortFunc(all, func(a, b any) int {
			x, _ := json.Marshal(a)
			y, _ := json.Marshal(b)
			return cmp.Compare(string(x), string(y))
		})
	}
}

func stampIn(family any) float64 {
	var value float64
	text, _ := json.Marshal(family)
	var f struct{ Metrics []struct{ Value string } }
	if json.Unmarshal(text, &f) == nil && len(f.Metrics) == 1 {
		_, _ = fmt.Sscan(f.Metrics[0].Value, &value)
	}
	return value
}

// pageOf is what the fleet shows of the jobs, its lines sorted, without the times of
// failures.
func pageOf(t *testing.T, f *Fleet) []string {
	t.Helper()
	w := httptest.NewRecorder()
	f.Proxy().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %v", w.Code, err)
	}
	out := slices.Sorted(strings.Lines(string(body)))
	return slices.DeleteFunc(out, func(line string) bool { return strings.HasPrefix(line, failureTimes) })
}
