package shared_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// TestFarthestEnds has the guard end that is about to give an empty Redis what it knows:
// another one does so.
func TestFarthestEnds(t *testing.T) {
	r := redistest.Start(t)
	cfg := shared.Config{URL: r.URL()}
	guards := map[string]*guard{}
	for range 2 {
		g := join(t, cfg)
		guards[string(g.door.Guard())] = g
	}
	for name, g := range guards {
		g.do(t, name)
	}
	for _, g := range guards {
		g.sync(t)
	}
	r.Kill()
	for _, g := range guards {
		eventually(t, "each notices", g.log.Away)
	}
	r.Restart()
	c := client(t, r)
	var said map[string]string
	eventually(t, "both have said how far they have come", func() bool {
		said, _ = c.HGetAll(t.Context(), "{pushguard}:election").Result()
		return len(said) == 2
	})
	var farthest, place string
	for name, text := range said {
		at := fmt.Sprintf("%020s", strings.Fields(text)[0])
		if at > place || at == place && name > farthest {
			farthest, place = name, at
		}
	}
	guards[farthest].stop()
	delete(guards, farthest)
	for name, g := range guards {
		eventually(t, "the other one is back", func() bool { return !g.log.Away() })
		if got := g.sync(t); len(got) != 2 || !slices.Contains(got, name) || !slices.Contains(got, farthest) {
			t.Errorf("%q", got)
		}
	}
}
