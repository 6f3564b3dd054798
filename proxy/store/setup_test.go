package store

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// childEnv has this binary play a guard that is killed.
const childEnv = "PUSHGUARD_STORE_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		pushForEver(dir)
		return
	}
	leaktest.Main(m)
}

func opened(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// openedDir is a store in a directory, and what ends it.
func openedDir(t testing.TB, path string) (s *Store, end func()) {
	t.Helper()
	return openedSynced(t, path, state.SyncInterval)
}

// openedSynced is openedDir of a directory that is synced so.
func openedSynced(t testing.TB, path string, sync state.Sync) (s *Store, end func()) {
	t.Helper()
	d, err := state.Open(t.Context(), path, state.Options{Wait: time.Minute, Sync: sync})
	if err != nil {
		t.Fatal(err)
	}
	s = opened(t, Config{Dir: d})
	return s, func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// key is a grouping key of the job a; more are pairs of a name and a value.
func key(more ...string) wire.Key {
	ls := []labels.Label{{Name: "job", Value: "a"}}
	for i := 0; i < len(more); i += 2 {
		ls = append(ls, labels.Label{Name: more[i], Value: more[i+1]})
	}
	return wire.NewKey(ls...)
}

// push sends a text body and returns the answer's status and body, which it wants to
// be what was foreseen.
func push(t testing.TB, s *Store, method string, key wire.Key, body string) (int, string) {
	t.Helper()
	r, err := request(method, key, body)
	if err != nil {
		t.Fatal(err)
	}
	foreseen, err := s.Foresee(r)
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.Do(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	if foreseen.Status != a.Status || string(foreseen.Body) != string(a.Body) {
		t.Errorf("%s %s %q: %d %s, foreseen %d %s", method, key, body, a.Status, a.Body, foreseen.Status, foreseen.Body)
	}
	return a.Status, string(a.Body)
}

func try(ctx context.Context, s *Store, method string, key wire.Key, body string) (int, string, error) {
	r, err := request(method, key, body)
	if err != nil {
		return 0, "", err
	}
	a, err := s.Do(ctx, r)
	return a.Status, string(a.Body), err
}

func request(method string, key wire.Key, body string) (gateway.Request, error) {
	r := gateway.Request{Method: method, Key: key}
	if method == http.MethodDelete {
		return r, nil
	}
	r.Push = &wire.Push{}
	return r, r.Push.Parse([]byte(body), wire.Text, key, wire.Options{UTF8Names: true})
}

// page is the page as text.
func page(t testing.TB, s *Store) string {
	t.Helper()
	return get(t, s.Proxy(), "/metrics").Body.String()
}

// sizes are how many groups there are, and how many series of how many distinct
// shapes they hold, the two that every group has besides its own left out.
func (s *Store) sizes() (groups, series, shapes int) {
	for _, g := range s.pinGroups() {
		groups++
		for _, f := range g.families {
			series += len(f.shape.lines)
		}
	}
	s.shapes.mu.Lock()
	defer s.shapes.mu.Unlock()
	for _, o := range s.shapes.byHash {
		for ; o != nil; o = o.next {
			shapes++
		}
	}
	return groups, series, shapes
}
