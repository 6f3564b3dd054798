package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// another is a room that guards of this version do not have.
type another struct{}

func (another) Apply(shared.Entry) error      { return nil }
func (another) Leave(shared.Guard, time.Time) {}
func (another) Save(dst []byte) []byte        { return dst }
func (another) Restore([]byte) error          { return nil }

// TestFleetVersions has a guard of a newer version join: pushes are taken as before, until
// it says what these cannot read. Then they end, and say why.
func TestFleetVersions(t *testing.T) {
	t.Parallel()
	guards, redis, _ := fleet(t, "30s")
	mustPush(t, guards[0], "/metrics/job/j", "rows 1\n")
	log, err := shared.Open(t.Context(), shared.Config{URL: redis.URL(), Version: "99.0", Timeout: 30 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	var door *shared.Door
	for range 3 {
		door = log.Room(another{})
	}
	redistest.Join(t, log)
	for _, g := range guards {
		mustShow(t, g, "pushguard_shared_versions 2")
		if a := g.Push(t, "/metrics/job/j", "rows 1\n"); a.Status != http.StatusOK {
			t.Errorf("a push to guards of two versions: %d %s", a.Status, a.Body)
		}
	}
	if err := door.Do(t.Context(), []byte("news"), nil); err != nil {
		t.Fatal(err)
	}
	for _, g := range guards {
		code, err := g.Wait()
		g.Kill() // it has ended by itself
		if err != nil || code == 0 || !strings.Contains(g.Logs(), `of version \"99.0\", says what this one`) && !strings.Contains(g.Logs(), `of version "99.0", says what this one`) {
			t.Errorf("a guard ended with %d, %v:\n%s", code, err, g.Logs())
		}
	}
}
