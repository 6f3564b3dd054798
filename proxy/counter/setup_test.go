package counter

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// hasher is that of all tests.
var hasher = NewHasher([]byte("a secret"))

// ticker is a clock that tests move.
type ticker struct{ now time.Time }

func newClock() *ticker { return &ticker{time.Unix(1_800_000_000, 0)} }

func (c *ticker) Now() time.Time          { return c.now }
func (c *ticker) advance(d time.Duration) { c.now = c.now.Add(d) }

// ago is a time before now in nanoseconds.
func (c *ticker) ago(d time.Duration) int64 { return c.now.Add(-d).UnixNano() }

// labelsOf reads a="1", b="2".
func labelsOf(s string) []labels.Label {
	var ls []labels.Label
	for pair := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ' ' || r == ',' }) {
		name, value, _ := strings.Cut(pair, "=")
		ls = append(ls, labels.Label{Name: name, Value: strings.Trim(value, `"`)})
	}
	return ls
}

// identity is that of a metric of a group.
func identity(group, family, metric string) Identity {
	m := hasher.Metric(family, labelsOf(metric))
	g := groupOf(group)
	return g.Of(&m)
}

func groupOf(group string) *GroupHash {
	g := &GroupHash{}
	hasher.Group(g, labelsOf(group))
	return g
}

// series is the output of a test's counters.
func series(name, ls string) *Series {
	return &Series{Name: name, Labels: labelsOf(ls), Kind: Counter}
}

// value is a reading of a counter x_total.
func value(group string, source Source, began int64, v float64) Reading {
	return Reading{
		Identity: identity(group, "x_total", ""), Source: source, Began: began,
		Output: failures, Value: v,
	}
}

var failures = series("failures_total", "job=j")

// pushed commits a push of these readings to a group and returns what it added.
func pushed(t testing.TB, b *Book, group string, readings ...Reading) float64 {
	t.Helper()
	return pushedAs(t, b, Push{Group: groupOf(group).Identity()}, readings...)
}

func pushedAs(t testing.TB, b *Book, p Push, readings ...Reading) float64 {
	t.Helper()
	var i Increments
	if err := b.Difference(&i, readings, p); err != nil {
		t.Fatal(err)
	}
	sink := &summing{}
	if err := i.Commit(context.Background(), sink); err != nil {
		t.Fatal(err)
	}
	return sink.sum
}

// summing is a sink that adds up values and counts.
type summing struct{ sum float64 }

func (s *summing) Add(all []Increment) {
	for _, i := range all {
		s.sum += i.Value + i.Count
	}
}

// totalOf is the value, or the count, of a series in totals; NaN if it is none.
func totalOf(t *Totals, name, ls string) float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.families[name]
	if f == nil {
		return math.NaN()
	}
	if to := f.totals[labelsKey(labelsOf(ls))]; to != nil {
		return to.value
	}
	return math.NaN()
}
