package world

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// State is what a Pushgateway holds, as its /api/v1/metrics tells it, in a form
// that two of them can be compared by: sorted, and without times.
type State []Group

// Group is one group of a State.
type Group struct {
	Key      map[string]string
	Pushed   bool // last_push_successful
	Families map[string]Family
}

// Family is one pushed metric family. Its series are JSON objects with sorted
// keys: labels, and value or buckets and the like.
type Family struct {
	Type   string
	Help   string
	Series []string
}

// The families that a Pushgateway writes itself, with the time of the push.
var times = map[string]bool{"push_time_seconds": true, "push_failure_time_seconds": true}

// State reads the groups of a Pushgateway.
func (p *Process) State(t testing.TB) State {
	t.Helper()
	return p.state(t, "")
}

// StateUnder reads them of a Pushgateway with a route prefix.
func (p *Process) StateUnder(t testing.TB, prefix string) State {
	t.Helper()
	return p.state(t, prefix)
}

func (p *Process) state(t testing.TB, prefix string) State {
	t.Helper()
	answer := p.Get(t, prefix+"/api/v1/metrics")
	if answer.Status != http.StatusOK {
		t.Fatalf("%s: GET %s/api/v1/metrics: %d %s", p.Name, prefix, answer.Status, answer.Body)
	}
	var listing struct {
		Data []map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(answer.Body), &listing); err != nil {
		t.Fatalf("%s: GET /api/v1/metrics: %v", p.Name, err)
	}
	state := State{}
	for _, raw := range listing.Data {
		g, err := group(raw)
		if err != nil {
			t.Fatalf("%s: GET /api/v1/metrics: %v", p.Name, err)
		}
		state = append(state, g)
	}
	slices.SortFunc(state, func(a, b Group) int { return strings.Compare(a.id(), b.id()) })
	return state
}

func group(raw map[string]json.RawMessage) (Group, error) {
	g := Group{Families: map[string]Family{}}
	for name, value := range raw {
		var err error
		switch {
		case times[name]:
		case name == "labels":
			err = json.Unmarshal(value, &g.Key)
		case name == "last_push_successful":
			err = json.Unmarshal(value, &g.Pushed)
		default:
			g.Families[name], err = family(value)
		}
		if err != nil {
			return Group{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	return g, nil
}

func family(raw json.RawMessage) (Family, error) {
	var f struct {
		Type, Help string
		Metrics    []map[string]any
	}
	if err := json.Unmarshal(raw, &f); err != nil {
		return Family{}, err
	}
	out := Family{Type: f.Type, Help: f.Help, Series: []string{}}
	for _, m := range f.Metrics {
		b, err := json.Marshal(m)
		if err != nil {
			return Family{}, err
		}
		out.Series = append(out.Series, string(b))
	}
	slices.Sort(out.Series)
	return out, nil
}

func (g Group) id() string {
	b, _ := json.Marshal(g.Key) // a map of strings; its keys come out sorted
	return string(b)
}

// Group returns the group of exactly these labels.
func (s State) Group(key map[string]string) (Group, bool) {
	want := Group{Key: key}.id()
	for _, g := range s {
		if g.id() == want {
			return g, true
		}
	}
	return Group{}, false
}

// Keys are the grouping keys, each as a JSON object, sorted.
func (s State) Keys() []string {
	keys := []string{}
	for _, g := range s {
		keys = append(keys, g.id())
	}
	return keys
}

// Unchanged fails the test unless the Pushgateway still holds exactly this.
func (p *Process) Unchanged(t testing.TB, before State) {
	t.Helper()
	if diff := cmp.Diff(before, p.State(t)); diff != "" {
		t.Errorf("the state of the Pushgateway changed (-before +after):\n%s", diff)
	}
}

// Wipe empties a Pushgateway that was started with --web.enable-admin-api, or
// one through its guard, and waits until it is empty.
func (p *Process) Wipe(t testing.TB) {
	t.Helper()
	answer := p.Send(t, Request{Method: http.MethodPut, Target: "/api/v1/admin/wipe"})
	if answer.Status != http.StatusAccepted {
		t.Fatalf("%s: wipe: %d %s", p.Name, answer.Status, answer.Body)
	}
	Eventually(t, func() error {
		if s := p.State(t); len(s) > 0 {
			return fmt.Errorf("%d groups are left after a wipe", len(s))
		}
		return nil
	})
}
