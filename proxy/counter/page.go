package counter

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	scrapersMax = 64
	// newFor is how long a total is new to a scraper that was never seen before:
	// what is older was not counted just now.
	newFor = 10 * time.Minute
)

// scrapers know which births each scraper was shown.
type scrapers struct {
	marks map[string]*mark
	// floor is a birth that a scraper nobody remembers may have been shown, at first kept.
	floor uint64
	turn  uint64
	// kept is the last birth that some scraper was shown, as far as that is written down.
	kept uint64
}

type mark struct {
	born uint64 // the last birth it was shown
	turn uint64 // when it came last
}

func newScrapers() scrapers { return scrapers{marks: map[string]*mark{}} }

// shown moves the mark of a scraper to a birth.
func (s *scrapers) shown(name string, born uint64) {
	s.turn++
	m := s.marks[name]
	if m == nil {
		m = &mark{}
		s.marks[name] = m
	}
	m.born, m.turn = max(m.born, born), s.turn
	if len(s.marks) <= scrapersMax {
		return
	}
	oldest := name
	for n, m := range s.marks {
		if m.turn < s.marks[oldest].turn {
			oldest = n
		}
	}
	s.floor = max(s.floor, s.marks[oldest].born)
	delete(s.marks, oldest)
}

// appendShown writes down that a scraper was shown what was born up to there, by the last
// of that which is left.
func (t *Totals) appendShown(unit []byte, born uint64) []byte {
	if born <= t.scrapers.kept {
		return unit
	}
	var last *total
	for _, f := range t.families {
		for _, to := range f.totals {
			if to.born <= born && (last == nil || to.born > last.born) {
				last = to
			}
		}
	}
	t.scrapers.kept = born
	if last == nil {
		return unit
	}
	return last.appendBirth(unit, true)
}

// Page is the totals as one scrape sees them. It is not safe for concurrent use.
type Page struct {
	totals   *Totals
	scraper  string
	born     uint64
	families []pageFamily
}

type pageFamily struct {
	name, help string
	kind       Kind
	totals     []pageTotal
}

// pageTotal is a total as it was when the page was taken.
type pageTotal struct {
	*total     // but for what follows only what never changes
	value, sum float64
	bounds     []float64
	buckets    []float64
}

// Page takes the totals as they are. A scraper is told by a name of its own, such
// as its address; it sees a total that is new at zero once, so that increase() in
// Prometheus sees the first increment. The empty name is a person, who sees every
// value at once. Totals that are kept are shown only once that is sure: a value
// that falls back would be a reset to Prometheus.
//
// Totals that guards share are the same on each, whichever was scraped before; while
// nobody can tell whether they are up to date they are left out.
func (t *Totals) Page(ctx context.Context, scraper string) *Page {
	if t.shared != nil {
		ctx, cancel := context.WithTimeout(ctx, pageWait)
		defer cancel()
		if t.shared.door.Sync(ctx) != nil {
			return &Page{totals: t}
		}
		return t.take(scraper)
	}
	p := t.take(scraper)
	if t.journal != nil {
		ctx, cancel := context.WithTimeout(ctx, pageWait)
		defer cancel()
		// If it fails, so does every commit, and says so: better a page than none.
		_ = t.journal.barrier(ctx)
	}
	return p
}

func (t *Totals) take(scraper string) *Page {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &Page{totals: t, scraper: scraper, born: t.births}
	seen := t.seen(scraper)
	for _, name := range slices.Sorted(maps.Keys(t.families)) {
		f := t.families[name]
		if len(f.totals) == 0 {
			continue
		}
		if f.sorted == nil {
			f.sorted = slices.SortedFunc(maps.Values(f.totals), compareLabels)
		}
		pf := pageFamily{name: f.name, help: f.help, kind: f.kind, totals: make([]pageTotal, len(f.sorted))}
		for i, to := range f.sorted {
			pf.totals[i] = to.shown(seen(to))
		}
		p.families = append(p.families, pf)
	}
	return p
}

// seen tells which totals a scraper was shown, or need not be shown at zero.
func (t *Totals) seen(scraper string) func(*total) bool {
	if scraper == "" {
		return func(*total) bool { return true }
	}
	if m := t.scrapers.marks[scraper]; m != nil {
		return func(to *total) bool { return to.born <= m.born }
	}
	floor, old := t.scrapers.floor, t.cfg.Now().Add(-newFor).UnixNano()
	return func(to *total) bool { return to.born <= floor || to.created <= old }
}

// shown is the total with its value, or at zero.
func (to *total) shown(value bool) pageTotal {
	p := pageTotal{total: to, bounds: to.bounds}
	if !value {
		p.buckets = make([]float64, len(to.buckets))
		return p
	}
	p.value, p.sum, p.buckets = to.value, to.sum, slices.Clone(to.buckets)
	return p
}

// Done says that the page was written to its end: what it showed at zero shows
// its value in the scraper's next.
func (p *Page) Done() {
	if p.scraper == "" {
		return
	}
	if p.totals.shared != nil {
		p.totals.shared.shown(p.scraper, p.born)
		return
	}
	if j := p.totals.journal; j != nil {
		j.mu.Lock()
		defer j.mu.Unlock()
	}
	p.totals.mu.Lock()
	defer p.totals.mu.Unlock()
	p.totals.scrapers.shown(p.scraper, p.born)
	if j := p.totals.journal; j != nil {
		j.append(p.totals.appendShown(nil, p.born)) // before the next page, which waits for that
	}
}

var kindTypes = [...]*dto.MetricType{
	Counter: dto.MetricType_COUNTER.Enum(), Histogram: dto.MetricType_HISTOGRAM.Enum(), Summary: dto.MetricType_SUMMARY.Enum(),
}

// Families renders the totals, sorted by name and labels, with created
// timestamps. They share memory with the totals: they are to be written, not to
// be changed.
func (p *Page) Families() []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, 0, len(p.families))
	for i := range p.families {
		f := &p.families[i]
		mf := &dto.MetricFamily{Name: &f.name, Type: kindTypes[f.kind], Metric: make([]*dto.Metric, len(f.totals))}
		if f.help != "" {
			mf.Help = &f.help
		}
		for j := range f.totals {
			mf.Metric[j] = f.totals[j].metric(f.kind)
		}
		out = append(out, mf)
	}
	return out
}

func (p *pageTotal) metric(kind Kind) *dto.Metric {
	m := &dto.Metric{Label: make([]*dto.LabelPair, len(p.labels))}
	for i := range p.labels {
		m.Label[i] = &dto.LabelPair{Name: &p.labels[i].Name, Value: &p.labels[i].Value}
	}
	created := timestamppb.New(time.Unix(0, p.created))
	switch kind {
	case Counter:
		m.Counter = &dto.Counter{Value: &p.value, CreatedTimestamp: created}
	case Summary:
		m.Summary = &dto.Summary{SampleCount: proto.Uint64(uint64(p.value)), SampleSum: &p.sum, CreatedTimestamp: created}
	default:
		m.Histogram = p.histogram()
		m.Histogram.CreatedTimestamp = created
	}
	return m
}

// histogram renders whole counts as integers, all others as floats.
func (p *pageTotal) histogram() *dto.Histogram {
	h := &dto.Histogram{SampleSum: &p.sum, Bucket: make([]*dto.Bucket, len(p.bounds))}
	whole := isWhole(p.value) && !slices.ContainsFunc(p.buckets, func(v float64) bool { return !isWhole(v) })
	if whole {
		h.SampleCount = proto.Uint64(uint64(p.value))
	} else {
		h.SampleCountFloat = &p.value
	}
	for i := range p.bounds {
		h.Bucket[i] = &dto.Bucket{UpperBound: &p.bounds[i]}
		if whole {
			h.Bucket[i].CumulativeCount = proto.Uint64(uint64(p.buckets[i]))
		} else {
			h.Bucket[i].CumulativeCountFloat = &p.buckets[i]
		}
	}
	return h
}

func isWhole(v float64) bool { return v == math.Trunc(v) && v < 1<<63 }
