package counter

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/clock/clocktest"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// TestTheClockIsSet has an administrator set the clock forward and back. What was pushed
// just before is remembered for as long as it would have been: its baselines, its
// idempotency key and its total; and nothing is remembered for a day longer.
func TestTheClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, 25 * time.Hour, -time.Hour, -25 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			h := clocktest.New(time.Unix(1_800_000_000, 0))
			b := NewBook(Config{Now: h.Now, Idle: 24 * time.Hour})
			totals := NewTotals(TotalsConfig{Now: h.Now})
			for n := range 100 {
				group := fmt.Sprintf("job=j%d", n)
				pushed(t, b, group, value(group, Run, 0, 1))
			}
			keyed := Push{Group: groupOf("job=j").Identity(), Method: "PUT", IdempotencyKey: "k"}
			pushedAs(t, b, keyed, value("job=j", Anonymous, 0, 1))
			answered := Push{Group: keyed.Group, Method: "PUT", Client: "10.0.0.1", Body: []byte("x 1")}
			b.Lost(answered)
			totals.Add([]Increment{{Series: series("x", `a="1"`), Value: 1}})

			h.Set(by)
			h.Pass(time.Minute)
			for range shards { // one shard is looked through with each push
				pushed(t, b, "job=busy", value("job=busy", Anonymous, 0, 1))
			}
			if got := b.Stats(); got.Expirations != 0 {
				t.Errorf("%d baselines of a minute ago were forgotten", got.Expirations)
			}
			if got := pushedAs(t, b, keyed, value("job=j", Anonymous, 0, 1)); got != 0 {
				t.Errorf("a retry by its key adds %v", got)
			}
			if gone := totals.Expire(func(string) time.Duration { return time.Hour }); gone != 0 {
				t.Error("a total of a minute ago was forgotten")
			}
			if by > 0 {
				if got := pushedAs(t, b, answered, value("job=j", Anonymous, 0, 1)); got != 0 {
					t.Errorf("the retry of a push whose reply was lost adds %v", got)
				}
				h.Pass(time.Hour)
				if gone := totals.Expire(func(string) time.Duration { return time.Hour }); gone != 1 {
					t.Error("the total stays for ever")
				}
			} else if got := pushedAs(t, b, answered, value("job=j", Anonymous, 0, 1)); got != 1 && by < -lostFor {
				t.Errorf("a push is taken for a retry of one from before the clock was set back: %v", got)
			}
		})
	}
}

// TestTheClockOfTheRedisIsSet: a total that guards share is not forgotten because the clock
// of their Redis was set forward.
func TestTheClockOfTheRedisIsSet(t *testing.T) {
	r := redistest.Start(t)
	s := newSharer(t, shared.Config{URL: r.URL()})
	push := func(name string) {
		out := &Series{Name: name, Kind: Counter, Labels: []labels.Label{{Name: "job", Value: "j"}}}
		commitOf(t, s.book, s.totals, Push{Group: Identity{1, 1}}, []Reading{{Identity: Identity{1, 1}, Source: Anonymous, Output: out, Value: 5}})
	}
	push("before_total")
	s.saved(t)
	r.Forward(2 * time.Hour)
	s.saved(t)
	push("after_total")
	s.totals.Expire(func(string) time.Duration { return time.Hour })
	s.saved(t)
	if got := values(s.totals.Page(t.Context(), "")); len(got) != 2 {
		t.Errorf("there are %v", got)
	}
}
