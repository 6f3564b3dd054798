package ledger

import (
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/clock/clocktest"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// TestTheClockIsSet: a group that was pushed to a minute ago is not stale because an
// administrator set the clock, and is once its time has passed; a budget in time neither
// starts anew by that nor lasts longer.
func TestTheClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, 25 * time.Hour, -time.Hour, -25 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			h := clocktest.New(time.Unix(1_800_000_000, 0))
			b := NewBook(Config{Now: h.Now})
			budget := Budget{StaleAfter: time.Hour, NewSeriesPerHour: 7}
			first := put(key("job", "a", "n", "1")).under(budget).word(Reject)
			first.Families = []string{"m"}
			first.bring(0, 2, "t", "a")
			admit(t, b, first).Settle(Applied)
			h.Pass(time.Minute)
			h.Set(by)
			if got := b.Stale(h.Now(), 10); len(got) != 0 {
				t.Errorf("a group of a minute ago is stale: %v", got)
			}
			more := put(key("job", "a", "n", "2")).under(budget).word(Reject)
			more.Families = []string{"m"}
			more.bring(0, 2, "t", "b")
			if _, err := b.Peek(more); err == nil {
				t.Error("the hour began anew")
			}
			h.Pass(62 * time.Minute)
			if _, err := b.Peek(more); err != nil {
				t.Errorf("an hour later: %v", err)
			}
			if by > 0 {
				if got := b.Stale(h.Now(), 10); len(got) != 1 {
					t.Errorf("a group of an hour ago is not stale: %v", got)
				}
			}
		})
	}
}

// TestTheClockOfTheRedisIsSet: a group that guards share is not stale because the clock of
// their Redis was set forward, and is to a guard that knows no other time.
func TestTheClockOfTheRedisIsSet(t *testing.T) {
	r := redistest.Start(t)
	s := newSharer(t, shared.Config{URL: r.URL()}, time.Second)
	admit(t, s.book, put(key("job", "a")).under(Budget{StaleAfter: time.Hour})).Settle(Applied)
	s.sync(t) // else it may be dated afterwards
	r.Forward(2 * time.Hour)
	s.sync(t)
	admit(t, s.book, put(key("job", "b")).under(Budget{StaleAfter: time.Hour})).Settle(Applied)
	s.sync(t)
	if a, _ := s.book.Group(key("job", "a")); s.book.shared.door.Now().Sub(a.Pushed) < time.Hour {
		t.Fatal("the clock was not set")
	}
	if got := s.book.Stale(time.Now(), 10); len(got) != 0 {
		t.Errorf("a group of a moment ago is stale: %v", got)
	}
	later := newSharer(t, shared.Config{URL: r.URL()}, time.Second)
	if got := later.book.Stale(time.Now(), 10); len(got) != 1 || !got[0].Key.Equal(key("job", "a")) {
		t.Errorf("stale to one that came later: %v", got)
	}
}
