package fleet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

func members(t *testing.T, names ...string) []*gateway.Upstream {
	t.Helper()
	var out []*gateway.Upstream
	for _, name := range names {
		u, err := gateway.New(gateway.Config{URL: &url.URL{Scheme: "http", Host: name}})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	return out
}

func job(i int) wire.Key {
	return wire.NewKey(labels.Label{Name: "job", Value: fmt.Sprintf("j%d", i)}, labels.Label{Name: "run", Value: fmt.Sprint(i % 7)})
}

// Jobs are spread evenly, whatever the order of the list, and one more upstream takes its
// share and moves nothing else.
func TestPlace(t *testing.T) {
	const jobs = 9000
	abc := New(Config{Staying: members(t, "a:1", "b:1", "c:1")})
	cab := New(Config{Staying: members(t, "c:1", "a:1", "b:1")})
	abcd := New(Config{Staying: members(t, "a:1", "b:1", "c:1", "d:1")})
	name := func(f *Fleet, i int) string { return f.all[f.Place(job(i))].Name() }
	count, moved := map[string]int{}, 0
	for i := range jobs {
		at := name(abc, i)
		count[at]++
		if other := name(cab, i); other != at {
			t.Fatalf("job %d is on %s, in another order of the list on %s", i, at, other)
		}
		switch now := name(abcd, i); now {
		case at:
		case "http://d:1":
			moved++
		default:
			t.Fatalf("job %d moves from %s to %s though neither is new", i, at, now)
		}
	}
	for at, n := range count {
		if n < jobs/3*9/10 || n > jobs/3*11/10 {
			t.Errorf("%s has %d of %d jobs", at, n, jobs)
		}
	}
	if moved < jobs/4*9/10 || moved > jobs/4*11/10 {
		t.Errorf("the fourth takes %d of %d jobs", moved, jobs)
	}
}

// Of two copies of a group the one that was pushed to later stands.
func TestBefore(t *testing.T) {
	f := New(Config{Staying: members(t, "a:1", "b:1")})
	key := job(1)
	home := f.Place(key)
	at := func(where int, pushed int64) located {
		g := located{gateway.Group{Key: key}, where}
		if pushed > 0 {
			g.Pushed = time.Unix(pushed, 0)
		}
		return g
	}
	for name, c := range map[string]struct {
		a, b located
		want bool
	}{
		"the stray is older":                {at(1-home, 10), at(home, 20), true},
		"the stray is newer":                {at(1-home, 20), at(home, 10), false},
		"the one at home never was pushed":  {at(home, 0), at(1-home, 10), true},
		"both at one time, the stray first": {at(1-home, 10), at(home, 10), true},
		"both at one time":                  {at(home, 10), at(1-home, 10), false},
	} {
		if got := f.before(c.a, c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestStarted has one of three be away: that another starts again is told all the same, also
// by a clock that is behind those of the others.
func TestStarted(t *testing.T) {
	var says [3]atomic.Int64 // seconds; 0 is nothing
	var all []*gateway.Upstream
	for i := range says {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			s := says[i].Load()
			if s == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintf(w, `{"status":"success","data":{"start_time":%q}}`, time.Unix(s, 0).UTC().Format(time.RFC3339))
		}))
		t.Cleanup(server.Close)
		where, _ := url.Parse(server.URL)
		all = append(all, at(t, where))
	}
	f := New(Config{Staying: all})
	if _, err := f.Started(t.Context()); err == nil {
		t.Error("no error though none says when it started")
	}
	var before time.Time
	for _, c := range []struct {
		name    string
		says    [3]int64
		differs bool
	}{
		{"at first", [3]int64{1000, 1010, 1005}, true},
		{"as before", [3]int64{1000, 1010, 1005}, false},
		{"one is away", [3]int64{1000, 0, 1005}, false},
		{"another starts again", [3]int64{2000, 0, 1005}, true},
		{"another, by a clock that is behind", [3]int64{2000, 0, 1990}, true},
		{"the one is back and has not been restarted", [3]int64{2000, 1010, 1990}, false},
		{"it starts again", [3]int64{2000, 1995, 1990}, true},
	} {
		for i, s := range c.says {
			says[i].Store(s)
		}
		now, err := f.Started(t.Context())
		if err != nil || now.Equal(before) == c.differs {
			t.Errorf("%s: %v after %v, %v", c.name, now, before, err)
		}
		before = now
	}
}

// TestForwardToAll has one be away: the others carry out what goes to all, and the answer is
// that it does not.
func TestForwardToAll(t *testing.T) {
	dead := at(t, &url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	var wiped atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		wiped.Add(1)
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	where, _ := url.Parse(server.URL)
	f := New(Config{Staying: []*gateway.Upstream{dead, at(t, where)}, Leaving: []*gateway.Upstream{at(t, where)}})
	f.set(standing{key: job(1), holder: 2})
	answer, err := f.Forward(t.Context(), "/api/v1/admin/wipe", gateway.Request{Method: http.MethodPut})
	if err == nil || wiped.Load() != 2 {
		t.Errorf("%d of two are wiped beside one that is dead: %d %v", wiped.Load(), answer.Status, err)
	}
	if _, ok := f.standing(job(1).ID()); !ok {
		t.Error("where a group stands is forgotten though not all was wiped")
	}
}
