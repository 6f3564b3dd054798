package ledger

import (
	"math"
	"time"
)

// rolling is the time by which windows roll. It goes on as the time does and never
// back: where the time jumps back, it goes on from there.
type rolling struct {
	now  func() time.Time
	last time.Time // the last reading
	at   int64     // Unix seconds of the windows, at that reading
	rest time.Duration
}

// read reads the time.
func (c *rolling) read() time.Time {
	now := c.now()
	switch elapsed := now.Sub(c.last); {
	case c.last.IsZero():
		c.at = max(c.at, now.Unix())
		c.rest = time.Duration(now.Nanosecond())
	case elapsed > 0:
		elapsed += c.rest
		c.at += int64(elapsed / time.Second)
		c.rest = elapsed % time.Second
	}
	c.last = now
	return now
}

// second is a time in Unix seconds, rounded up: what was pushed within a second
// counts as younger than it is, never as older. 0 is no time.
type second uint32

func toSecond(t time.Time) second {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return second(min(max(s, 1), math.MaxUint32))
}

// orNever is toSecond, with the zero time for none.
func orNever(t time.Time) second {
	if t.IsZero() {
		return 0
	}
	return toSecond(t)
}

// after reports whether what happened in that second may be later than t.
func (s second) after(t time.Time) bool { return int64(s) > t.Unix() }

func (s second) time() time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(int64(s), 0)
}
