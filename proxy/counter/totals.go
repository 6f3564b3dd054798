package counter

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/clock"
)

// otherValue is the value that labels of new series have once the totals are full.
const otherValue = "__other__"

// TotalsConfig is what Totals are made of. The zero value is good.
type TotalsConfig struct {
	// Series bounds the totals that are kept; a histogram or summary is one. Over it
	// all labels of new ones become __other__, but for job; over it by a tenth the
	// job, too, and no family is claimed any more. 0 is 100,000.
	Series int
	// Now is the clock, nil that of the system.
	Now func() time.Time
}

// Totals add increments up, one total for each output series, to be scraped. It
// is a Sink, safe for concurrent use.
type Totals struct {
	cfg   TotalsConfig
	watch *clock.Watch // what was added to is younger than it looks by that

	mu       sync.Mutex
	families map[string]*family
	names    map[string]*family // that the families take in an exposition
	// known finds the total of a series that was added to before.
	known map[*Series]*total
	heavy int // what was put there weighs, with what has gone since
	count int
	// births counts the totals ever made; each is born as one of them.
	births   uint64
	scrapers scrapers
	journal  *journal          // nil if nothing is kept
	shared   *sharing          // nil if no other guard has these totals
	byBirth  map[uint64]*total // if they are shared

	collapsed, dropped uint64
}

// family is the totals of one name.
type family struct {
	name   string
	kind   Kind
	help   string
	totals map[string]*total // by their labels
	claims int               // pushes under way that may add to it
	asked  int64             // if it is shared: when it was claimed last, in seconds since 1970
	sorted []*total          // nil if it must be made again
}

// total is what one output series has come to.
type total struct {
	labels  []labels.Label
	bounds  []float64 // replaced, never changed
	born    uint64
	created int64 // in nanoseconds since 1970
	used    int64 // when it was added to last, in seconds since 1970
	gone    bool

	family *family
	other  bool // it stands for series for which there was no room

	value   float64 // of a counter, or the count
	sum     float64
	buckets []float64 // cumulative
}

// NewTotals returns totals that are kept in memory alone.
func NewTotals(cfg TotalsConfig) *Totals {
	t := &Totals{
		cfg:      cfg,
		families: map[string]*family{}, names: map[string]*family{}, known: map[*Series]*total{},
		scrapers: newScrapers(),
	}
	t.cfg.Series = cmp.Or(cfg.Series, 100_000)
	if t.cfg.Now == nil {
		t.cfg.Now = time.Now
	}
	t.watch = clock.New(t.cfg.Now)
	return t
}

// Add adds increments to their totals. Of a family that nobody claimed it is the
// first claim; what cannot be claimed is dropped and counted.
func (t *Totals) Add(increments []Increment) {
	if t.journal == nil {
		t.add(increments, nil)
		return
	}
	t.journal.mu.Lock()
	defer t.journal.mu.Unlock()
	t.journal.append(t.add(increments, nil))
}

// add adds increments and what is to be kept of that to the unit. The journal's
// lock is held, if there is one.
func (t *Totals) add(increments []Increment, unit []byte) []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now().Unix()
	for i := range increments {
		inc := &increments[i]
		to, births := t.known[inc.Series], t.births
		if to == nil {
			if to = t.learn(inc.Series); to == nil {
				t.dropped++
				continue
			}
		}
		to.used = now
		if to.other {
			t.collapsed++
		}
		if narrowed := to.add(inc); t.journal != nil {
			unit = to.keep(unit, inc, narrowed || t.births > births)
		}
	}
	return unit
}

// keep writes down what an increment changed; with anew also what the total is.
func (to *total) keep(unit []byte, inc *Increment, anew bool) []byte {
	if anew {
		unit = to.appendBirth(unit, false)
	}
	if anew || inc.Value > 0 || inc.Count > 0 || inc.Sum != 0 {
		unit = to.appendTotal(unit)
	}
	return unit
}

// learn finds the total of a series that is not known, or makes it.
func (t *Totals) learn(s *Series) *total {
	f, err := t.claim(s.Name, s.Kind)
	if err != nil {
		return nil
	}
	f.help = cmp.Or(f.help, s.Help)
	ls, other := t.place(f, s.Labels)
	to := f.totals[labelsKey(ls)]
	if to == nil {
		to = t.bear(f, ls, s.Bounds)
		to.other = other
	}
	t.know(s, to)
	return to
}

// knownBytes bounds what the series weigh that are known. Many are nobody's any more: a
// push makes those anew for which its caller, or a budget, had no room.
const knownBytes = 64 << 20

// know remembers the total of a series. When that is too much, it begins anew.
func (t *Totals) know(s *Series, to *total) {
	size := s.Size()
	if len(t.known) >= 2*t.cfg.Series || t.heavy+size > knownBytes {
		clear(t.known)
		t.heavy = 0
	}
	t.known[s] = to
	t.heavy += size
}

// bear makes a total at zero.
func (t *Totals) bear(f *family, ls []labels.Label, bounds []float64) *total {
	t.births++
	t.count++
	now := t.cfg.Now()
	to := &total{
		labels: ls, bounds: slices.Clone(bounds), buckets: make([]float64, len(bounds)),
		born: t.births, created: now.UnixNano(), used: now.Unix(), family: f,
	}
	f.totals[labelsKey(ls)] = to
	f.sorted = nil
	if t.shared != nil {
		t.byBirth[to.born] = to
	}
	return to
}

// place returns the labels under which a series is added: its own while there is
// room for them or they have a total.
func (t *Totals) place(f *family, ls []labels.Label) (at []labels.Label, isOther bool) {
	if t.count < t.cfg.Series || f.totals[labelsKey(ls)] != nil {
		return slices.Clone(ls), false
	}
	other := make([]labels.Label, len(ls))
	for i, l := range ls {
		if other[i] = l; l.Name != model.JobLabel {
			other[i].Value = otherValue
		}
	}
	if t.count < t.limit() || f.totals[labelsKey(other)] != nil {
		return other, true
	}
	return []labels.Label{{Name: model.JobLabel, Value: otherValue}}, true
}

// limit is how many totals there are at most, but for one of each family.
func (t *Totals) limit() int { return t.cfg.Series + t.cfg.Series/10 }

// add adds an increment. A total that is too large to be a number stays the
// largest, and so does a sum that is too far below 0. It reports whether buckets went.
func (to *total) add(inc *Increment) (narrowed bool) {
	if to.family.kind == Counter {
		to.value = plus(to.value, inc.Value)
		return false
	}
	to.value, to.sum = plus(to.value, inc.Count), max(plus(to.sum, inc.Sum), -maxFloat)
	if !among(to.bounds, inc.Series.Bounds) {
		to.narrow(inc.Series.Bounds)
		narrowed = true
	}
	at := 0
	for i, bound := range to.bounds {
		for inc.Series.Bounds[at] != bound {
			at++
		}
		to.buckets[i] = plus(to.buckets[i], inc.Buckets[at])
	}
	return narrowed
}

func plus(a, b float64) float64 { return min(a+b, maxFloat) }

const maxFloat = 0x1p1023 * (1 + (1 - 0x1p-52))

// among reports whether all bounds are among others; both ascend.
func among(bounds, others []float64) bool {
	at := 0
	for _, bound := range bounds {
		for at < len(others) && others[at] < bound {
			at++
		}
		if at == len(others) || others[at] != bound {
			return false
		}
	}
	return true
}

// narrow keeps the buckets that other bounds have, too: what is below any other
// bound is known of one of both only.
func (to *total) narrow(bounds []float64) {
	var common, kept []float64
	for i, b := range to.bounds {
		if _, ok := slices.BinarySearch(bounds, b); ok {
			common, kept = append(common, b), append(kept, to.buckets[i])
		}
	}
	to.bounds, to.buckets = common, kept
}

// labelsKey is a string that two lists share exactly if they are equal.
func labelsKey(ls []labels.Label) string {
	var b strings.Builder
	for _, l := range ls {
		b.WriteString(l.Name)
		b.WriteByte(0xff)
		b.WriteString(l.Value)
		b.WriteByte(0xff)
	}
	return b.String()
}

func compareLabels(a, b *total) int {
	return slices.CompareFunc(a.labels, b.labels, func(x, y labels.Label) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Value, y.Value))
	})
}
