package fleet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// modelled is a group with what it must hold: written by one at a time, as the ledger has
// it.
type modelled struct {
	sync.Mutex
	key  wire.Key
	have map[string]int // families and their values; nil if the group is not there
}

type world struct {
	t      *testing.T
	fleet  *Fleet
	groups []*modelled
	still  int // the first of them are not written to
}

func newWorld(t *testing.T, n, still int) *world {
	w := &world{t: t, still: still}
	for i := range n {
		key := wire.NewKey(labels.Label{Name: "job", Value: fmt.Sprintf("j%d", i/2)}, labels.Label{Name: "run", Value: fmt.Sprint(i % 2)})
		w.groups = append(w.groups, &modelled{key: key})
	}
	return w
}

// write makes one random write of a group, with the fleet and the model.
func (w *world) write(g *modelled, method string, value int) {
	g.Lock()
	defer g.Unlock()
	families := []string{"x", "y", "z"}[rand.IntN(2):]
	next := map[string]int{}
	for name, v := range g.have {
		if method == http.MethodPost {
			next[name] = v
		}
	}
	var body strings.Builder
	for _, name := range families {
		fmt.Fprintf(&body, "# TYPE %s gauge\n%s %d\n", name, name, value)
		next[name] = value
	}
	r := gateway.Request{Method: method, Key: g.key, Body: []byte(body.String())}
	if method == http.MethodDelete {
		r.Body, next = nil, nil
	}
	if answer, err := w.fleet.Do(context.Background(), r); !taken(answer, err) {
		w.t.Errorf("%s %s: %d %s %v", method, g.key, answer.Status, answer.Body, err)
		return
	}
	g.have = next
}

// hold is that of the ledger.
func (w *world) hold(_ context.Context, key wire.Key) (func(), bool) {
	for _, g := range w.groups {
		if g.key.Equal(key) {
			g.Lock()
			return g.Unlock, true
		}
	}
	w.t.Errorf("nobody knows %s", key)
	return nil, false
}

// lines are those of the page that the model wants of groups, sorted.
func lines(groups []*modelled) []string {
	out := []string{}
	for _, g := range groups {
		run, _ := g.key.Get("run")
		for name, v := range g.have {
			out = append(out, fmt.Sprintf("%s{instance=\"\",job=%q,run=%q} %d\n", name, g.key.Job(), run, v))
		}
	}
	slices.Sort(out)
	return out
}

// pushed are the lines of a page that are of x, y and z, and of the groups.
func pushed(page []string, groups []*modelled) []string {
	out := []string{}
	for _, line := range page {
		if strings.IndexByte("xyz", line[0]) < 0 || line[1] != '{' {
			continue
		}
		if slices.ContainsFunc(groups, func(g *modelled) bool {
			run, _ := g.key.Get("run")
			return strings.Contains(line, fmt.Sprintf("job=%q,run=%q", g.key.Job(), run))
		}) {
			out = append(out, line)
		}
	}
	return out
}

// noSeriesTwice fails the test for a page that Prometheus would not take.
func noSeriesTwice(t *testing.T, page []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range page {
		series, _, _ := strings.Cut(line, " ")
		if line[0] != '#' && seen[series] {
			t.Errorf("%s is on the page twice", series)
		}
		seen[series] = true
	}
}

// TestMoveUnderPushes changes the list of real Pushgateways again and again, and moves
// groups while clients write to them and pages are read: what clients wrote stands, no
// page lacks a group or has it twice, and in the end every group is where it belongs and
// nowhere else.
func TestMoveUnderPushes(t *testing.T) {
	all := real(t, 3)
	w := newWorld(t, 60, 20)
	lists := []Config{
		{Staying: all[:1]},
		{Staying: all[:2]},
		{Staying: all, Rest: 50 * time.Millisecond},
		{Staying: all[1:], Leaving: all[:1]},
		{Staying: []*gateway.Upstream{all[0], all[2]}, Leaving: all[1:2], Rest: 20 * time.Millisecond},
	}
	for i, list := range lists {
		w.fleet = New(list)
		if _, err := w.fleet.Groups(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			for j, g := range w.groups {
				w.write(g, http.MethodPut, j)
			}
		}
		w.churn()
		w.settled(list)
	}
}

// churn writes and reads until nothing is left to move.
func (w *world) churn() {
	ctx, done := context.WithCancel(w.t.Context())
	defer done()
	var busy sync.WaitGroup
	for range 2 {
		busy.Go(func() {
			methods := []string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodPost, http.MethodDelete}
			for ctx.Err() == nil {
				w.write(w.groups[w.still+rand.IntN(len(w.groups)-w.still)], methods[rand.IntN(len(methods))], rand.IntN(1000))
			}
		})
	}
	still := w.groups[:w.still]
	busy.Go(func() {
		want := lines(still)
		for ctx.Err() == nil {
			page := pageOf(w.t, w.fleet)
			noSeriesTwice(w.t, page)
			if diff := gocmp.Diff(want, pushed(page, still)); diff != "" {
				w.t.Errorf("groups that nobody writes to are not on the page as they are (-want +is):\n%s", diff)
			}
		}
	})
	busy.Go(func() {
		for ctx.Err() == nil {
			if _, err := w.fleet.Groups(ctx, 1); err != nil && ctx.Err() == nil {
				w.t.Error(err)
			}
		}
	})
	for left := 1; left > 0 || len(w.fleet.pick(func(standing) bool { return true })) > 0; {
		if _, left = w.fleet.Move(w.t.Context(), w.hold); w.t.Context().Err() != nil || w.t.Failed() {
			break
		}
	}
	done()
	busy.Wait()
}

// settled holds each upstream to the model.
func (w *world) settled(list Config) {
	w.t.Helper()
	everyone := append(slices.Clone(list.Staying), list.Leaving...)
	for at, u := range everyone {
		var mine []*modelled
		for _, g := range w.groups {
			if w.fleet.Place(g.key) == at {
				mine = append(mine, g)
			}
		}
		eventually(w.t, func() error { // deletes are queued
			page := pageOf(w.t, New(Config{Staying: []*gateway.Upstream{u}}))
			if diff := gocmp.Diff(lines(mine), pushed(page, w.groups)); diff != "" {
				return fmt.Errorf("%s does not hold what it should (-want +is):\n%s", u.Name(), diff)
			}
			return nil
		})
	}
	if diff := gocmp.Diff(lines(w.groups), pushed(pageOf(w.t, w.fleet), w.groups)); diff != "" {
		w.t.Errorf("the page is not what it should be (-want +is):\n%s", diff)
	}
}
