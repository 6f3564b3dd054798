package statsd

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/seldom"
)

const (
	refusalsToldEvery = time.Minute // of one reason
	lastTry           = 100 * time.Millisecond
)

// Sender is a counter.Sink that sends what it is given to a StatsD server, and a
// prometheus.Collector of what became of it. It is safe for concurrent use.
type Sender struct {
	cfg   Config
	stats *stats
	began time.Time

	mu       sync.Mutex
	series   map[string]*series
	families families
	known    map[*counter.Series]*series // found before; some are gone
	heavy    int                         // what was put there weighs
	queued   list                        // those with something pending, the first to become so first
	settled  list                        // the others, the last used first
	beats    list                        // all, the first that must be sent as zero first
	epoch    uint64                      // of the connection; 0 before the first
	limit    int                         // bytes of a packet
	id       []byte
	told     map[Refusal]time.Time

	// What follows belongs to Run.
	link   *link
	pacer  pacer
	packet packet
	outage seldom.Outage
}

var (
	_ counter.Sink         = (*Sender)(nil)
	_ prometheus.Collector = (*Sender)(nil)
)

// New returns a sender of this configuration, or every fault in it. It opens
// nothing: see Run.
func New(c Config) (*Sender, error) {
	cfg, err := c.completed()
	if err != nil {
		return nil, err
	}
	s := &Sender{
		cfg:      cfg,
		stats:    newStats(),
		began:    cfg.Now(),
		series:   map[string]*series{},
		families: families{},
		known:    map[*counter.Series]*series{},
		queued:   list{kind: byUse},
		settled:  list{kind: byUse},
		beats:    list{kind: byBeat},
		limit:    cfg.PacketSize,
		told:     map[Refusal]time.Time{},
		link:     newLink(cfg.Address, cfg.WriteTimeout),
		packet:   packet{style: cfg.Tags},
	}
	if cfg.Address.Scheme == "udp" {
		s.pacer = newPacer(cfg.Rate)
	}
	return s, nil
}

// Add adds to what is pending. It never waits for the network. What it refuses
// is counted, see Refusal.
func (s *Sender) Add(increments []counter.Increment) {
	now := s.cfg.Now()
	age := s.ageAt(now)
	var tell []refused
	s.mu.Lock()
	for i := range increments {
		if why := s.add(&increments[i], age); why != "" && s.refuse(why, now) {
			tell = append(tell, refused{why, increments[i].Series})
		}
	}
	s.mu.Unlock()
	for _, r := range tell {
		name := ""
		if r.series != nil {
			name = r.series.Name
		}
		s.cfg.Logger.Warn("increment refused", "reason", r.why, "metric", name[:min(len(name), maxName)])
	}
}

// age is how long the sender has been there, in nanoseconds: a time that goes on evenly,
// also where somebody sets the clock.
func (s *Sender) age() int64 { return s.ageAt(s.cfg.Now()) }

func (s *Sender) ageAt(now time.Time) int64 { return int64(now.Sub(s.began)) }

// refused is an increment that the log is told of.
type refused struct {
	why    Refusal
	series *counter.Series
}

func (s *Sender) add(inc *counter.Increment, now int64) Refusal {
	if inc.Series == nil || !sound(inc) {
		return RefusedValue
	}
	sr, why := s.find(inc.Series, now)
	if why != "" {
		return why
	}
	grown, why := sr.add(inc)
	if why != "" {
		return why
	}
	if grown && s.cfg.ZeroHold > 0 {
		sr.epoch = 0
		s.beats.remove(sr)
		s.beats.pushFront(sr)
	}
	sr.seen = now
	s.file(sr)
	return ""
}

// file puts a series that was used into the list it belongs to.
func (s *Sender) file(sr *series) {
	switch {
	case sr.queued:
	case sr.empty():
		s.settled.remove(sr)
		s.settled.pushFront(sr)
	default:
		s.settled.remove(sr)
		s.queued.pushBack(sr)
		sr.queued = true
	}
}

// knownBytes bounds what the series weigh that were found before.
const knownBytes = 64 << 20

// find returns the series of src, a new one if there is none.
func (s *Sender) find(src *counter.Series, now int64) (*series, Refusal) {
	if sr := s.known[src]; sr != nil && !sr.gone {
		return sr, ""
	}
	sr, why := s.lookUp(src, now)
	if why == "" {
		size := src.Size()
		if len(s.known) >= 2*s.cfg.MaxSeries || s.heavy+size > knownBytes {
			clear(s.known)
			s.heavy = 0
		}
		s.known[src] = sr
		s.heavy += size
	}
	return sr, why
}

// lookUp is find for a src that did not come before.
func (s *Sender) lookUp(src *counter.Series, now int64) (*series, Refusal) {
	if len(src.Name) > maxName || src.Name == "" {
		return nil, RefusedName
	}
	var name int
	s.id, name = s.cfg.appendID(s.id[:0], src)
	sr := s.series[string(s.id)]
	switch {
	case sr == nil:
		return s.create(src, name, now)
	case sr.source.Kind != src.Kind:
		return nil, RefusedKind
	case sr.source.Name != src.Name || (s.cfg.Tags != NoTags && !sameNames(sr.source, src)):
		return nil, RefusedCollision
	}
	return sr, ""
}

// create makes the series whose identity is in s.id.
func (s *Sender) create(src *counter.Series, name int, now int64) (*series, Refusal) {
	if why := s.cfg.checkLabels(src); why != "" {
		return nil, why
	}
	if src.Kind == counter.Histogram && !goodBounds(src.Bounds) {
		return nil, RefusedBounds
	}
	sr := newSeries(src, string(s.id), name, s.cfg.Tags)
	if !sr.fits(sr.bounds) {
		return nil, RefusedSize
	}
	f, why := s.families.claim(src, sr.name)
	if why != "" {
		return nil, why
	}
	sr.family = f
	if len(s.series) >= s.cfg.MaxSeries {
		if s.settled.back == nil {
			s.families.release(f)
			return nil, RefusedFull
		}
		s.forget(s.settled.back)
		s.stats.evicted.Inc()
	}
	s.series[sr.id] = sr
	s.settled.pushFront(sr)
	if s.cfg.ZeroHold > 0 {
		s.beats.pushFront(sr)
	} else {
		sr.beat = now
		s.beats.pushBack(sr)
	}
	return sr, ""
}

// forget removes a settled series.
func (s *Sender) forget(sr *series) {
	s.settled.remove(sr)
	s.beats.remove(sr)
	delete(s.series, sr.id)
	s.families.release(sr.family)
	sr.gone = true
}

// refuse counts a refusal. It reports whether it is time to tell of it.
func (s *Sender) refuse(why Refusal, now time.Time) bool {
	s.stats.dropped[why].Inc()
	if at, ok := s.told[why]; ok && now.Sub(at) < refusalsToldEvery {
		return false
	}
	s.told[why] = now
	return true
}

// Run sends what is pending every Config.FlushEvery until the context ends; then
// it sends what is left, held increments too, and returns nil. That takes
// Config.ShutdownFlush and one Config.WriteTimeout at most. It is to be called
// once.
func (s *Sender) Run(ctx context.Context) error {
	tick := time.NewTicker(s.cfg.FlushEvery)
	defer tick.Stop()
	defer s.link.close()
	for {
		select {
		case <-ctx.Done():
			s.finish(ctx)
			return nil
		case <-tick.C:
			s.flush(ctx)
		}
	}
}

// finish sends what is pending, again and again until nothing is or the time is
// up.
func (s *Sender) finish(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.ShutdownFlush)
	defer cancel()
	for {
		s.link.retry = time.Time{}
		if s.connected(ctx) {
			s.sendAmounts(ctx, true)
		}
		s.mu.Lock()
		left := s.queued.n
		s.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-ctx.Done():
			s.cfg.Logger.Error("increments lost: the StatsD server did not take them before the end", "series", left)
			return
		case <-time.After(lastTry):
		}
	}
}
