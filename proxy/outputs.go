package proxy

import (
	"slices"
	"sync"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/wire"
)

// route is where the counters of a job go. The zero value is none.
type route uint8

const (
	toSnapshot route = iota + 1 // nowhere: they stay where they are
	toTotals
	toStatsD
)

// String is the route's word in a policy.
func (r route) String() string {
	switch r {
	case toTotals:
		return string(policy.RouteTotals)
	case toStatsD:
		return string(policy.RouteStatsD)
	default:
		return string(policy.RouteSnapshot)
	}
}

// route is where the counters of an entry's jobs go. Where the guard has no
// socket to send them to, they are totals.
func (g *Guard) route(entry *policy.Entry) route {
	switch to := entry.Counters.Route; {
	case to == policy.RouteSnapshot:
		return toSnapshot
	case g.cfg.StatsD != nil && to != policy.RouteTotals:
		return toStatsD
	default:
		return toTotals
	}
}

// sink is where the increments of an entry's jobs go.
func (g *Guard) sink(entry *policy.Entry) counter.Sink {
	if g.route(entry) == toStatsD {
		return g.cfg.StatsD
	}
	return g.cfg.Totals
}

// hashes are what the identities of a counter's metric are made of.
type hashes struct {
	raw, output counter.MetricHash
	namesRun    bool // one of its labels names the run
}

// hashes returns those of a verdict, made when they are first asked for.
func (v *verdict) hashes(h *counter.Hasher, runLabels []string) *hashes {
	if known := v.counted.Load(); known != nil {
		return known
	}
	made := &hashes{
		raw: h.Metric(v.family, v.pushed.labels), output: h.Metric(v.family, v.fate.Labels),
		namesRun: namesRun(runLabels, v.pushed.labels),
	}
	v.counted.Store(made)
	return made
}

// shape is what a series must be like to take a reading.
type shape struct {
	kind    counter.Kind
	buckets []wire.Bucket // in the order of their bounds
}

func (s shape) fits(series *counter.Series) bool {
	return s.kind == series.Kind && slices.EqualFunc(s.buckets, series.Bounds, func(b wire.Bucket, bound float64) bool { return b.Bound == bound })
}

// keptOutputs bounds one generation of the output series that are remembered, and
// outputBytes what they weigh together: also those are among them for which a budget has
// no room.
const (
	keptOutputs = 1 << 15
	outputBytes = 32 << 20
)

// outputs remember the series that increments are added to, so that a push that
// comes again makes none. It forgets the older half when it is full: a series
// that is asked for again is made again. Safe for concurrent use.
type outputs struct {
	mu         sync.RWMutex
	young, old map[counter.Identity]*counter.Series
	bytes      int // of the young, at the most
}

func newOutputs() *outputs {
	return &outputs{young: map[counter.Identity]*counter.Series{}}
}

// series returns the series of that identity and shape, and makes it if there is
// none.
func (o *outputs) series(id counter.Identity, build func() *counter.Series, want shape) *counter.Series {
	o.mu.RLock()
	s, young := o.young[id]
	if !young {
		s = o.old[id]
	}
	o.mu.RUnlock()
	fits := s != nil && want.fits(s)
	if fits && young {
		return s
	}
	if !fits {
		s = build()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	size := s.Size()
	if len(o.young) >= keptOutputs || o.bytes+size > outputBytes {
		o.old, o.young, o.bytes = o.young, map[counter.Identity]*counter.Series{}, 0
	}
	o.young[id] = s
	o.bytes += size
	return s
}
