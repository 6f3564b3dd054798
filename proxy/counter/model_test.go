package counter

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/state"
)

// plainBook is what a book promises, written down again in the simplest way: it
// shares nothing with the book but the words of a push.
type plainBook struct {
	now       int64 // seconds
	watermark int64 // nanoseconds
	limit     int
	lines     []modelLine // the longest unseen first
	lost      map[string][]int64
	keys      map[string]int64
}

type modelLine struct {
	group, source string
	last          float64
	seen          int64
}

type modelReading struct {
	name      string
	source    Source
	began     int64
	semantics Semantics
	value     float64
}

type modelPush struct {
	group, key string
	ignore     bool
	readings   []modelReading
}

func (m *plainBook) body(p modelPush) string { return fmt.Sprint(p.group, p.readings) }

// retry reports whether a push counts already.
func (m *plainBook) retry(p modelPush) bool {
	if until, ok := m.keys[p.group+p.key]; p.key != "" && ok && m.now < until {
		return true
	}
	lost := m.lost[m.body(p)]
	return len(lost) > 0 && m.now < lost[len(lost)-1]
}

// push returns what a push adds, and keeps it.
func (m *plainBook) push(p modelPush) (sum float64) {
	if m.retry(p) {
		if lost := m.lost[m.body(p)]; len(lost) > 0 && m.now < lost[len(lost)-1] && !m.keyed(p) {
			m.lost[m.body(p)] = lost[:len(lost)-1]
		}
		return 0
	}
	watermark := m.watermark // what this push evicts matters to the next
	for _, r := range p.readings {
		sum += m.read(p, r, watermark)
	}
	if p.key != "" {
		m.keys[p.group+p.key] = m.now + 3600
	}
	for len(m.lines) > m.limit {
		m.watermark = max(m.watermark, (m.lines[0].seen+1)*1e9)
		m.lines = m.lines[1:]
	}
	return sum
}

// lose remembers a push; those that were lost before are known by the last.
func (m *plainBook) lose(p modelPush) {
	var known []int64
	for _, until := range m.lost[m.body(p)] {
		if m.now < until {
			known = append(known, m.now+120)
		}
	}
	m.lost[m.body(p)] = append(known, m.now+120)
}

func (m *plainBook) keyed(p modelPush) bool {
	until, ok := m.keys[p.group+p.key]
	return p.key != "" && ok && m.now < until
}

func (m *plainBook) read(p modelPush, r modelReading, watermark int64) float64 {
	if r.semantics == Delta || r.semantics == Auto && r.source == Anonymous {
		return r.value
	}
	source := fmt.Sprint(r.name, r.source, r.began)
	line := modelLine{p.group, source, r.value, m.now}
	for i, l := range m.lines {
		if l.group != p.group || l.source != source {
			continue
		}
		m.lines = append(append([]modelLine{}, m.lines[:i]...), m.lines[i+1:]...)
		added := r.value - l.last
		if r.value < l.last && r.source == Created {
			line.last, added = l.last, 0
		} else if r.value < l.last {
			added = r.value
		}
		m.lines = append(m.lines, line)
		return added
	}
	m.lines = append(m.lines, line)
	if r.began <= watermark && p.ignore {
		return 0
	}
	return r.value
}

func (m *plainBook) forget(group string) {
	var kept []modelLine
	for _, l := range m.lines {
		if l.group != group {
			kept = append(kept, l)
		}
	}
	m.lines = kept
}

var modelGroups = []string{"job=a", "job=b", "job=c,run=1", "job=c,run=2"}

// drawReadings draws a push of up to three counters.
func drawReadings(t *rapid.T, watermark int64) []modelReading {
	var out []modelReading
	for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 1, 3, rapid.ID).Draw(t, "names") {
		r := modelReading{
			name: name, source: Source(rapid.IntRange(1, 4).Draw(t, "source")),
			semantics: rapid.SampledFrom([]Semantics{Auto, Auto, Cumulative, Delta}).Draw(t, "semantics"),
			value:     float64(rapid.IntRange(0, 6).Draw(t, "value")),
		}
		if r.source <= Process {
			r.began = watermark + rapid.SampledFrom([]int64{-1e9, -1, 0, 1, 3e8, 1e9, 2e9, 60e9}).Draw(t, "began")
		}
		out = append(out, r)
	}
	return out
}

// as makes readings of the words of a push, and the push.
func (p modelPush) as(m *plainBook) (Push, []Reading) {
	var out []Reading
	for _, r := range p.readings {
		out = append(out, Reading{
			Identity: identity(p.group, r.name, ""), Source: r.source, Began: r.began, Semantics: r.semantics,
			Output: failures, Value: r.value,
		})
	}
	return Push{
		Group: groupOf(p.group).Identity(), Body: []byte(m.body(p)),
		IdempotencyKey: p.key, IgnoreUnknown: p.ignore,
	}, out
}

// machine is a book beside its model, and what becomes of both.
type machine struct {
	clock *ticker
	model *plainBook
	want  float64 // what the model added up

	cfg    Config
	path   string // of the state, empty if nothing is kept
	dir    *state.Dir
	store  *Store
	book   *Book
	totals *Totals
	sent   []modelPush
}

func newMachine(t *rapid.T, path string) *machine {
	c := newClock()
	limit := rapid.SampledFrom([]int{2, 5, 100}).Draw(t, "limit")
	m := &machine{clock: c, cfg: Config{Now: c.Now, Baselines: limit, Idle: 1000 * time.Hour}}
	m.totals = NewTotals(TotalsConfig{Now: c.Now})
	m.model = &plainBook{now: c.now.Unix(), limit: limit}
	m.restart()
	if rapid.Bool().Draw(t, "kept") {
		m.path, m.cfg.Baselines, m.model.limit = path, 1000, 1000 // evictions are not written down
		m.open(t)
	}
	return m
}

func (m *machine) open(t *rapid.T) {
	var err error
	if m.dir, err = state.Open(context.Background(), m.path, state.Options{Sync: state.SyncNever}); err != nil {
		t.Fatal(err)
	}
	if m.store, err = Open(m.dir, m.cfg, TotalsConfig{Now: m.clock.Now}); err != nil {
		t.Fatal(err)
	}
	m.book, m.totals = m.store.Book, m.store.Totals
}

func (m *machine) shut(t *rapid.T) {
	if m.dir == nil {
		return
	}
	if err := m.dir.Close(); err != nil {
		t.Fatal(err)
	}
}

// restart begins anew with nothing but the totals.
func (m *machine) restart() {
	m.book = NewBook(m.cfg)
	m.model.lines, m.model.lost, m.model.keys = nil, map[string][]int64{}, map[string]int64{}
	m.model.watermark = m.clock.now.UnixNano()
}

func (m *machine) push(t *rapid.T, p modelPush) {
	words, readings := p.as(m.model)
	var i Increments
	if err := m.book.Difference(&i, readings, words); err != nil {
		t.Fatal(err)
	}
	if rapid.IntRange(0, 9).Draw(t, "refused") == 0 {
		return
	}
	if err := i.Commit(context.Background(), m.totals); err != nil {
		t.Fatal(err)
	}
	m.want += m.model.push(p)
	if rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
		m.book.Lost(words)
		m.model.lose(p)
	}
	m.sent = append(m.sent, p)
}

func (m *machine) Push(t *rapid.T) {
	m.push(t, modelPush{
		group:    rapid.SampledFrom(modelGroups).Draw(t, "group"),
		key:      rapid.SampledFrom([]string{"", "", "", "k", "l"}).Draw(t, "key"),
		ignore:   rapid.Bool().Draw(t, "ignore"),
		readings: drawReadings(t, m.model.watermark),
	})
}

func (m *machine) Retry(t *rapid.T) {
	if len(m.sent) == 0 {
		t.Skip("nothing was sent")
	}
	m.push(t, rapid.SampledFrom(m.sent[max(0, len(m.sent)-4):]).Draw(t, "again"))
}

func (m *machine) Delete(t *rapid.T) {
	group := rapid.SampledFrom(modelGroups).Draw(t, "group")
	if err := m.book.Forget(context.Background(), groupOf(group).Identity()); err != nil {
		t.Fatal(err)
	}
	m.model.forget(group)
	for _, p := range m.sent {
		if p.group == group {
			delete(m.model.lost, m.model.body(p))
		}
	}
}

func (m *machine) Compact(t *rapid.T) {
	if m.store == nil {
		t.Skip("nothing is kept")
	}
	if err := m.store.compact(); err != nil {
		t.Fatal(err)
	}
}

func (m *machine) Restart(t *rapid.T) {
	if m.store == nil {
		m.restart()
		return
	}
	m.shut(t)
	m.open(t)
	m.model.lost = map[string][]int64{}
}

// Check holds the book to the model, and time goes on.
func (m *machine) Check(t *rapid.T) {
	step := int64(rapid.SampledFrom([]int{1, 1, 1, 50, 1800}).Draw(t, "step"))
	m.model.now += step
	m.clock.advance(time.Duration(step) * time.Second)
	if got := totalOf(m.totals, "failures_total", "job=j"); got != m.want && m.want != 0 {
		t.Fatalf("the total is %v, the model says %v", got, m.want)
	}
	if got := m.book.Stats().Baselines; got != len(m.model.lines) {
		t.Fatalf("%d baselines, the model has %d", got, len(m.model.lines))
	}
}

// Any interleaving of pushes, refusals, lost replies, retries, deletes, evictions
// and restarts, with state and without, adds what the model says.
func TestABookAddsWhatTheModelSays(t *testing.T) {
	root, runs := t.TempDir(), 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		m := newMachine(t, filepath.Join(root, strconv.Itoa(runs)))
		defer m.shut(t)
		t.Repeat(rapid.StateMachineActions(m))
	})
}

// Whatever is pushed again, late or in parallel, the total of sources that say
// when they were created is the sum of the last values of each.
func TestCreatedSourcesAddUpToTheTruth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newClock()
		b, totals := NewBook(Config{Now: c.Now}), NewTotals(TotalsConfig{Now: c.Now})
		truth := map[string]float64{}
		var i Increments
		for range rapid.IntRange(1, 60).Draw(t, "pushes") {
			p := modelPush{group: rapid.SampledFrom(modelGroups).Draw(t, "group")}
			began := c.now.UnixNano() + int64(rapid.IntRange(1, 3).Draw(t, "run"))
			v := float64(rapid.IntRange(0, 20).Draw(t, "value"))
			p.readings = []modelReading{{name: "x", source: Created, began: began, value: v}}
			words, readings := p.as(&plainBook{})
			if err := b.Difference(&i, readings, words); err != nil {
				t.Fatal(err)
			}
			if err := i.Commit(context.Background(), totals); err != nil {
				t.Fatal(err)
			}
			source := fmt.Sprint(p.group, began)
			truth[source] = max(truth[source], v)
		}
		want := 0.0
		for _, v := range truth {
			want += v
		}
		if got := totalOf(totals, "failures_total", "job=j"); got != want {
			t.Fatalf("the total is %v, the truth %v", got, want)
		}
	})
}
