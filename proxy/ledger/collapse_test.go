package ledger

import (
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// plainMetric is a metric in plain words.
type plainMetric struct {
	family string
	labels map[string]string
	size   int
}

func (m plainMetric) String() string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(m.labels)) {
		pairs = append(pairs, k+"="+m.labels[k])
	}
	return m.family + "{" + strings.Join(pairs, ",") + "}"
}

// with returns the metric with Other for some of its labels.
func (m plainMetric) with(other []string) plainMetric {
	out := m
	out.labels = maps.Clone(m.labels)
	for _, k := range other {
		out.labels[k] = wire.Other
	}
	return out
}

var others = func() map[uint64]uint64 {
	out := map[uint64]uint64{}
	for _, name := range []string{"v", "w"} {
		o := wire.PrintOther(1, name)
		out[o.Label] = o.Value
	}
	return out
}()

// collapsing is a claim that collapses what is over the budget.
func collapsing(method string, group wire.Key, b Budget, metrics ...plainMetric) Claim {
	c := Claim{Group: group, Raw: group, Method: method, Budget: b, OverBudget: Collapse, Others: others}
	for _, m := range metrics {
		f := slices.Index(c.Families, m.family)
		if f < 0 {
			f = len(c.Families)
			c.Families = append(c.Families, m.family)
		}
		mc := MetricClaim{Family: int32(f), Samples: int32(m.size)}
		fingerprint, values := wire.Print(1, group, m.sorted(), nil)
		mc.Fingerprint, mc.Values = fingerprint, c.AddValues(values)
		c.Metrics = append(c.Metrics, mc)
	}
	return c
}

func (m plainMetric) sorted() []labels.Label {
	var ls []labels.Label
	for _, k := range slices.Sorted(maps.Keys(m.labels)) {
		ls = append(ls, labels.Label{Name: k, Value: m.labels[k]})
	}
	return ls
}

// carriedOut returns what of the metrics is pushed under a ruling, merged.
func carriedOut(metrics []plainMetric, r Ruling) map[string]plainMetric {
	out := map[string]plainMetric{}
	for i, m := range metrics {
		if slices.Contains(r.Trimmed, i) {
			continue
		}
		if k := slices.IndexFunc(r.Collapsed, func(c Collapsed) bool { return c.Metric == i }); k >= 0 {
			names := slices.Sorted(maps.Keys(m.labels))
			var other []string
			for _, v := range r.Collapsed[k].Values {
				other = append(other, names[v])
			}
			m = m.with(other)
		}
		m.size = max(m.size, out[m.String()].size)
		out[m.String()] = m
	}
	return out
}

func oneLabel(values ...string) (out []plainMetric) {
	for _, v := range values {
		out = append(out, plainMetric{"x", map[string]string{"v": v}, 1})
	}
	return out
}

func TestCollapseAtEachLimit(t *testing.T) {
	for name, c := range map[string]struct {
		budget Budget
		limit  Limit
		room   int // metrics, the overflow among them
	}{
		"label values":    {Budget{LabelValues: 4}, LabelValuesLimit, 4},
		"series":          {Budget{Series: 6}, SeriesLimit, 4},
		"entry":           {Budget{EntrySeries: 6}, EntrySeriesLimit, 4},
		"guard":           {Budget{GuardSeries: 6}, GuardSeriesLimit, 4},
		"series an hour":  {Budget{NewSeriesPerHour: 6}, NewSeriesPerHourLimit, 4},
		"series a day":    {Budget{NewSeriesPerDay: 6}, NewSeriesPerDayLimit, 4},
		"remainder":       {Budget{GuardSeries: 10, Reserved: 4}, RemainderLimit, 4},
		"none but a slot": {Budget{Series: 3}, SeriesLimit, 1},
	} {
		for n := 1; n <= c.room+3; n++ {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				b := NewBook(Config{})
				metrics := oneLabel(numbered(n)...)
				g := admit(t, b, collapsing(http.MethodPut, group1, c.budget, metrics...))
				var want []Collapsed
				for i := c.room - 1; i < n; i++ { // the last place is the overflow's
					want = append(want, Collapsed{Metric: i, Values: []int{0}})
				}
				if !reflect.DeepEqual(g.Collapsed, want) || g.Trimmed != nil {
					t.Fatalf("collapsed %v, want %v; trimmed %v", g.Collapsed, want, g.Trimmed)
				}
				if len(want) > 0 && (len(g.Excess) != 1 || g.Excess[0].Over != c.limit || g.Excess[0].Metrics != len(want)) {
					t.Errorf("excess %+v", g.Excess)
				}
				g.Settle(Applied)
				if held := b.Held("j"); held != min(n, c.room)+2 {
					t.Errorf("%d are held", held)
				}
				again, err := b.Peek(collapsing(http.MethodPut, group1, c.budget, metrics...))
				if err != nil || !reflect.DeepEqual(again.Collapsed, want) || again.Trimmed != nil {
					t.Errorf("again: collapsed %v, want %v, %v", again.Collapsed, want, err)
				}
			})
		}
	}
}

func TestWithoutRoomForTheOverflowItTrims(t *testing.T) {
	r, err := NewBook(Config{}).Peek(collapsing(http.MethodPut, group1, Budget{Series: 2}, oneLabel("a", "b")...))
	if err != nil || !reflect.DeepEqual(r.Trimmed, []int{0, 1}) || r.Collapsed != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestOnlyNewValuesCollapseFirst(t *testing.T) {
	b, budget := NewBook(Config{}), Budget{Series: 8, LabelValues: 2}
	m := func(v, w string) plainMetric { return plainMetric{"x", map[string]string{"v": v, "w": w}, 1} }
	admit(t, b, collapsing(http.MethodPut, group1, budget, m("a", "p"))).Settle(Applied)
	g := admit(t, b, collapsing(http.MethodPost, group1, budget, m("a", "p"), m("a", "q"), m("b", "p"), m("b", "q")))
	want := []Collapsed{{1, []int{1}}, {2, []int{0}}, {3, []int{0, 1}}}
	if !reflect.DeepEqual(g.Collapsed, want) || g.Trimmed != nil {
		t.Errorf("collapsed %v, want %v", g.Collapsed, want)
	}
	g.Settle(Applied)
	if b.Held("j") != 6 {
		t.Errorf("%d held", b.Held("j"))
	}
}

// TestLabelsThatCannotCollapse names no Other for w.
func TestLabelsThatCannotCollapse(t *testing.T) {
	c := collapsing(http.MethodPut, group1, Budget{LabelValues: 1}, plainMetric{"x", map[string]string{"w": "a"}, 1}, plainMetric{"x", map[string]string{"w": "b"}, 1}, plainMetric{"x", nil, 1})
	c.Others = map[uint64]uint64{}
	r, err := NewBook(Config{}).Peek(c)
	if err != nil || !reflect.DeepEqual(r.Trimmed, []int{1}) || r.Collapsed != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestTheOverflowOfAJobOverItsBudgetStays: what the group holds passes, and that
// is what it holds of the overflow, too.
func TestTheOverflowOfAJobOverItsBudgetStays(t *testing.T) {
	b, metrics := NewBook(Config{}), oneLabel(numbered(6)...)
	admit(t, b, collapsing(http.MethodPut, group1, Budget{Series: 6}, metrics...)).Settle(Applied)
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		g := admit(t, b, collapsing(method, group1, Budget{Series: 1}, metrics...))
		if len(g.Collapsed) != 3 || g.Trimmed != nil || g.Held != 6 {
			t.Errorf("%s: %+v", method, g.Ruling)
		}
		g.Settle(Applied)
	}
	if b.Held("j") != 6 {
		t.Errorf("%d held", b.Held("j"))
	}
}

// TestAnOverflowThatNothingComesToGoes holds an overflow that is not needed.
func TestAnOverflowThatNothingComesToGoes(t *testing.T) {
	b := NewBook(Config{})
	admit(t, b, collapsing(http.MethodPut, group1, Budget{Series: 4}, oneLabel("a", "b", "c")...)).Settle(Applied)
	g := admit(t, b, collapsing(http.MethodPut, group1, Budget{Series: 9}, oneLabel("a", "b")...))
	if g.Held != 4 || g.Collapsed != nil {
		t.Errorf("%+v", g.Ruling)
	}
	if g.Settle(Applied); b.Held("j") != 4 {
		t.Errorf("%d held", b.Held("j"))
	}
}

// collapseModel is the rule of Collapse in plain words, for a PUT to a job's only
// group: what is held, what is admitted, what must still find room.
type collapseModel struct {
	budget Budget
	held   map[string]plainMetric
	got    map[string]int
	want   map[string]int // of the overflow
	kept   map[string]int // what stays counted until it is clear that it goes
	values map[string]map[string]bool
}

func (m *collapseModel) used() int {
	n := 2
	for id, size := range m.got {
		n += max(size, m.kept[id])
	}
	for id, size := range m.kept {
		if _, got := m.got[id]; !got {
			n += size
		}
	}
	return n
}

func (m *collapseModel) lack() (n int) {
	for id, want := range m.want {
		n += max(0, want-max(m.got[id], m.kept[id]))
	}
	return n
}

// admit admits one metric under an identity, or not.
func (m *collapseModel) admit(p plainMetric) bool {
	id := p.String()
	before, had := m.got[id]
	if max(before, m.kept[id]) >= p.size {
		m.got[id] = max(before, p.size)
		return true
	}
	m.got[id] = p.size
	over := m.used()
	if _, overflow := m.want[id]; !overflow {
		over += m.lack()
	}
	if over <= m.budget.Series {
		return true
	}
	delete(m.got, id)
	if had {
		m.got[id] = before
	}
	return false
}

func (m *collapseModel) room(p plainMetric) bool {
	for k, v := range p.labels {
		limit := m.budget.LabelValues
		if !m.values[k][wire.Other] {
			limit--
		}
		if v != wire.Other && !m.values[k][v] && len(m.values[k]) >= limit {
			return false
		}
	}
	return true
}

func (m *collapseModel) learn(p plainMetric) {
	for k, v := range p.labels {
		m.values[k][v] = true
	}
}

func (m *collapseModel) push(metrics []plainMetric) (passes map[string]plainMetric, trimmed []int) {
	m.got, m.want, m.kept = map[string]int{}, map[string]int{}, map[string]int{}
	m.values = map[string]map[string]bool{"v": {}, "w": {}}
	for _, h := range m.held {
		m.learn(h)
	}
	all := func(p plainMetric) []string { return slices.Sorted(maps.Keys(p.labels)) }
	unknown := func(p plainMetric) []string {
		return slices.DeleteFunc(all(p), func(k string) bool { return m.values[k][p.labels[k]] })
	}
	known := func(p plainMetric) bool { return m.held[p.String()].size >= p.size }
	pushed := map[string]bool{}
	for _, p := range metrics {
		pushed[p.String()] = true
	}
	news := slices.ContainsFunc(metrics, func(p plainMetric) bool { return !known(p) })
	for _, p := range metrics {
		if known(p) {
			m.got[p.String()] = p.size
		} else if h, ok := m.held[p.String()]; ok {
			m.kept[p.String()] = h.size // it has grown
		}
		full := p.with(all(p))
		if news {
			m.want[full.String()] = max(m.want[full.String()], p.size)
		}
		for _, q := range []plainMetric{full, p.with(unknown(p))} {
			if h, ok := m.held[q.String()]; ok && news && !pushed[q.String()] && (q.String() == full.String() || !known(p)) {
				m.kept[q.String()] = h.size
			}
		}
	}
	passes = map[string]plainMetric{}
	for i, p := range metrics {
		tries := []plainMetric{p, p.with(unknown(p)), p.with(all(p))}
		if known(p) {
			passes[p.String()] = p
			continue
		}
		if !m.room(p) {
			tries = tries[1:]
		}
		k := slices.IndexFunc(tries, func(q plainMetric) bool { return (q.String() != p.String() || len(tries) == 3) && m.admit(q) })
		if k < 0 {
			trimmed = append(trimmed, i)
			continue
		}
		q := tries[k]
		m.learn(q)
		q.size = max(q.size, passes[q.String()].size)
		passes[q.String()] = q
	}
	return passes, trimmed
}

func drawMetrics(t *rapid.T) []plainMetric {
	value := rapid.SampledFrom([]string{"a", "b", "c", "d", wire.Other})
	all := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) plainMetric {
		m := plainMetric{rapid.SampledFrom([]string{"x", "y"}).Draw(t, "family"), map[string]string{}, rapid.IntRange(1, 3).Draw(t, "size")}
		for _, name := range []string{"v", "w"} {
			if rapid.IntRange(0, 3).Draw(t, "has") > 0 {
				m.labels[name] = value.Draw(t, name)
			}
		}
		return m
	}), 0, 8, plainMetric.String).Draw(t, "metrics")
	return all
}

func TestCollapseAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, m := NewBook(Config{}), collapseModel{held: map[string]plainMetric{}}
		for range rapid.IntRange(1, 6).Draw(t, "pushes") {
			m.budget = Budget{Series: rapid.IntRange(2, 16).Draw(t, "series"), LabelValues: rapid.IntRange(1, 5).Draw(t, "values")}
			metrics := drawMetrics(t)
			g, err := b.Admit(t.Context(), collapsing(http.MethodPut, group1, m.budget, metrics...))
			if err != nil {
				t.Fatal(err)
			}
			want, trimmed := m.push(metrics)
			got := carriedOut(metrics, g.Ruling)
			if !slices.Equal(g.Trimmed, trimmed) || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("budget %+v, held %v, pushed %v:\n passed %v, trimmed %v\n want %v, trimmed %v", m.budget, m.held, metrics, got, g.Trimmed, want, trimmed)
			}
			size := 2
			for _, p := range got {
				size += p.size
			}
			if g.Held != size {
				t.Fatalf("%d are held, the ruling says %d", size, g.Held)
			}
			if g.Settle(Applied); b.Held("j") != size {
				t.Fatalf("%d are held, the book says %d", size, b.Held("j"))
			}
			m.held = got
		}
	})
}

// TestCollapseKeepsTheTotals: where the overflow fits, nothing is left out, in
// POSTs and after outcomes nobody knows, too; and never is more held than may be.
func TestCollapseKeepsTheTotals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBook(Config{})
		budget := Budget{Series: rapid.IntRange(2, 30).Draw(t, "series"), LabelValues: rapid.IntRange(1, 6).Draw(t, "values"), NewSeriesPerHour: rapid.IntRange(2, 60).Draw(t, "hour")}
		truth := map[string]plainMetric{}
		for range rapid.IntRange(1, 8).Draw(t, "pushes") {
			metrics := drawMetrics(t)
			method := rapid.SampledFrom([]string{http.MethodPut, http.MethodPost}).Draw(t, "method")
			before := b.Held("j")
			g, err := b.Admit(t.Context(), collapsing(method, group1, budget, metrics...))
			if err != nil {
				t.Fatal(err)
			}
			overflow := map[string]int{}
			for _, m := range metrics {
				full := m.with(slices.Collect(maps.Keys(m.labels))).String()
				overflow[full] = max(overflow[full], m.size)
			}
			need := 2
			for _, n := range overflow {
				need += n
			}
			if r, _ := b.Job("j", 0); len(g.Trimmed) > 0 && max(2, before)+need <= budget.Series && r.NewThisHour+need <= budget.NewSeriesPerHour {
				t.Fatalf("trimmed %v, though all fits collapsed", g.Trimmed)
			}
			o := rapid.SampledFrom([]Outcome{Applied, Applied, Unknown, Refused}).Draw(t, "outcome")
			if o == Applied || o == Unknown && rapid.Bool().Draw(t, "done") {
				pushed := carriedOut(metrics, g.Ruling)
				families := map[string]bool{}
				for _, p := range pushed {
					families[p.family] = true
				}
				maps.DeleteFunc(truth, func(_ string, p plainMetric) bool { return g.Method == http.MethodPut || families[p.family] })
				maps.Copy(truth, pushed)
			}
			g.Settle(o)
			size := 2
			for _, p := range truth {
				size += p.size
			}
			if size > budget.Series || b.Held("j") < size {
				t.Fatalf("%d are there, %d held, budget %d", size, b.Held("j"), budget.Series)
			}
		}
	})
}
