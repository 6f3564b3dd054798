package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// content is what a group holds in plain words: "family/value" → series.
type content map[string]int

// modelAccount is the model of one group: what the upstream truly holds, and what a
// book that saw only the outcomes must reserve.
type modelAccount struct {
	exists, mayExist bool
	truth, known     content
	unsure           bool    // known is what the upstream may hold, after an unknown outcome
	pending          content // nil: no push is under way
	grant            *Grant
	claim            Claim
}

func (a *modelAccount) booked() content {
	all := maps.Clone(a.known)
	for m, n := range a.pending {
		all[m] = max(n, all[m])
	}
	return all
}

func (a *modelAccount) series() int {
	n := 0
	if a.mayExist || a.pending != nil {
		n = 2
	}
	for _, s := range a.booked() {
		n += s
	}
	return n
}

// really is what the upstream really holds of a job.
func (as accounts) really(job int) int {
	n := 0
	for _, a := range as[2*job : 2*job+2] {
		if a.exists {
			n += 2
		}
		for _, size := range a.truth {
			n += size
		}
	}
	return n
}

func applied(before, pushed content, families []string, put bool) content {
	after := maps.Clone(pushed)
	for m, n := range before {
		if f, _, _ := strings.Cut(m, "/"); !put && !slices.Contains(families, f) {
			after[m] = n
		}
	}
	return after
}

// accounts are all groups; two jobs of one entry have two each.
type accounts [4]*modelAccount

func (as accounts) used(job int) (series, all int, values map[string]bool) {
	values = map[string]bool{}
	for i, a := range as {
		all += a.series()
		if i/2 != job {
			continue
		}
		series += a.series()
		for m := range a.booked() {
			values[m[strings.Index(m, "/")+1:]] = true
		}
	}
	return series, all, values
}

// certain is what of a metric the group surely holds.
func (a *modelAccount) certain(m string) int {
	if a.unsure {
		return 0
	}
	return a.known[m]
}

// replaced is how many series of a family go if the push writes it.
func (a *modelAccount) replaced(family string, pushed []string, sizes []int) int {
	n := 0
	for m, held := range a.known {
		if f, _, _ := strings.Cut(m, "/"); f != family {
			continue
		}
		n += held
		if i := slices.Index(pushed, m); i >= 0 && a.certain(m) > 0 {
			n -= min(held, sizes[i])
		}
	}
	return n
}

// admit returns what of a push passes, in the words of DESIGN: what the group
// holds, and new metrics in order as far as there is room for them once the push
// is applied. A family goes for certain if the group is replaced, if it comes
// empty, or if something of it passes.
func (as accounts) admit(i int, pushed []string, sizes []int, b Budget, put bool) (passes content, trimmed []int, refused bool) {
	a := as[i]
	series, all, values := as.used(i / 2)
	if !a.mayExist {
		series, all = series+2, all+2
	}
	replaced := map[string]int{}
	for _, f := range []string{"f", "g"} {
		replaced[f] = a.replaced(f, pushed, sizes)
		certain, empty := put, true
		for k, m := range pushed {
			if strings.HasPrefix(m, f) {
				empty = false
				certain = certain || a.certain(m) >= sizes[k]
			}
		}
		if certain || empty {
			series, all, replaced[f] = series-replaced[f], all-replaced[f], 0
		}
	}
	if !a.mayExist && (series > b.Series || all > b.EntrySeries || all > b.GuardSeries) {
		return nil, nil, true
	}
	passes = content{}
	for k, m := range pushed {
		family, value, _ := strings.Cut(m, "/")
		grows := max(0, sizes[k]-a.certain(m))
		net := grows - replaced[family]
		room := values[value] || len(values) < b.LabelValues
		if grows > 0 && (!room || series+net > b.Series || all+net > min(b.EntrySeries, b.GuardSeries)) {
			trimmed = append(trimmed, k)
			continue
		}
		if grows > 0 {
			series, all, replaced[family] = series+net, all+net, 0
		}
		values[value] = true
		passes[m] = sizes[k]
	}
	return passes, trimmed, false
}

var (
	accountJobs = []string{"a", "b"}
	accountKeys = []wire.Key{key("job", "a"), key("job", "a", "k", "1"), key("job", "b"), key("job", "b", "k", "1")}
)

func TestHeldAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, as := NewBook(Config{}), accounts{}
		for i := range as {
			as[i] = &modelAccount{truth: content{}, known: content{}}
		}
		budget := Budget{
			Series:      rapid.IntRange(2, 24).Draw(t, "series"),
			LabelValues: rapid.IntRange(1, 4).Draw(t, "label values"),
			EntrySeries: rapid.IntRange(2, 30).Draw(t, "entry"),
			GuardSeries: rapid.IntRange(2, 30).Draw(t, "guard"),
		}
		group := rapid.IntRange(0, len(as)-1)
		t.Repeat(map[string]func(*rapid.T){
			"push":   func(t *rapid.T) { as.push(t, b, group.Draw(t, "group"), budget) },
			"delete": func(t *rapid.T) { as.remove(t, b, group.Draw(t, "group")) },
			"settle": func(t *rapid.T) { as.settle(t, group.Draw(t, "group")) },
			"load":   func(t *rapid.T) { as.load(t, b, budget) },
			"":       func(t *rapid.T) { as.check(t, b, budget) },
		})
	})
}

func (as accounts) push(t *rapid.T, b *Book, i int, budget Budget) {
	a := as[i]
	c := Claim{
		Group: accountKeys[i], Raw: accountKeys[i], Budget: budget, Families: []string{"f", "g"},
		Method:     rapid.SampledFrom([]string{http.MethodPut, http.MethodPost}).Draw(t, "method"),
		OverBudget: rapid.SampledFrom([]OverBudget{Trim, Reject}).Draw(t, "word"),
	}
	metrics := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"f/1", "f/2", "f/3", "g/1", "g/3", "g/4", "g/5"}), rapid.ID[string]).Draw(t, "metrics")
	var sizes []int
	for _, m := range metrics {
		size := rapid.IntRange(1, 3).Draw(t, "size")
		family, value, _ := strings.Cut(m, "/")
		c.bring(int32(slices.Index(c.Families, family)), int32(size), "v", value)
		sizes = append(sizes, size)
	}
	if a.grant == nil {
		a.claim = c
	}
	passes, trimmed, refused := as.admit(i, metrics, sizes, budget, c.Method == http.MethodPut)
	peeked, peekErr := b.Peek(c)
	g, err := b.Admit(context.Background(), c)
	var over *OverBudgetError
	switch {
	case a.grant != nil:
		if !errors.Is(err, ErrBusy) {
			t.Fatalf("Admit of a group that is taken = %v", err)
		}
		return
	case refused || c.OverBudget == Reject && len(trimmed) > 0:
		if !errors.As(err, &over) || !errors.As(peekErr, &over) {
			t.Fatalf("Admit = %v, Peek = %v, want to be over budget", err, peekErr)
		}
		return
	case err != nil || peekErr != nil:
		t.Fatalf("Admit = %v, Peek = %v", err, peekErr)
	}
	if !slices.Equal(g.Trimmed, trimmed) || fmt.Sprint(peeked) != fmt.Sprint(g.Ruling) {
		t.Fatalf("trimmed %v, peeked %+v, want %v", g.Trimmed, peeked, trimmed)
	}
	a.grant, a.pending = g, passes
}

func (as accounts) remove(t *rapid.T, b *Book, i int) {
	a := as[i]
	g, err := b.Admit(context.Background(), Claim{Group: accountKeys[i], Raw: accountKeys[i], Method: http.MethodDelete})
	if a.grant != nil {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	a.grant, a.claim.Method = g, http.MethodDelete
}

// settle ends a request: the upstream does it or not, and the book is told so,
// or that nobody knows.
func (as accounts) settle(t *rapid.T, i int) {
	a := as[i]
	if a.grant == nil {
		t.Skip()
	}
	o := rapid.SampledFrom([]Outcome{Applied, Refused, Untouched, Unknown}).Draw(t, "outcome")
	done := o == Applied || o == Unknown && rapid.Bool().Draw(t, "done behind our back")
	put := a.claim.Method == http.MethodPut
	families := []string{} // those of which something is left
	for m := range a.pending {
		f, _, _ := strings.Cut(m, "/")
		families = append(families, f)
	}
	for f := range slices.Values(a.claim.Families) { // and those that came empty
		if !slices.ContainsFunc(a.claim.Metrics, func(m MetricClaim) bool { return a.claim.Families[m.Family] == f }) {
			families = append(families, f)
		}
	}
	switch {
	case a.claim.Method == http.MethodDelete:
		if done {
			a.truth, a.exists = content{}, false
		}
		if o == Applied {
			a.known, a.mayExist, a.unsure = content{}, false, false
		}
	default:
		if done {
			a.truth = applied(a.truth, a.pending, families, put)
		}
		a.exists = a.exists || done || o == Refused
		if o == Applied {
			a.known, a.unsure = applied(a.known, a.pending, families, put), a.unsure && !put
		} else if o == Unknown {
			a.known, a.unsure = a.booked(), a.unsure || !a.grant.same
		}
		a.mayExist = a.mayExist || o != Untouched
	}
	a.grant.Settle(o)
	a.grant, a.pending = nil, nil
}

func (as accounts) load(t *rapid.T, b *Book, budget Budget) {
	var groups []Group
	for i, a := range as {
		if !a.exists {
			if a.grant == nil {
				a.known, a.mayExist, a.unsure = content{}, false, false
			}
			continue
		}
		a.known, a.mayExist, a.unsure = maps.Clone(a.truth), true, false
		p := wire.GroupPrinter{Seed: 1}
		for _, f := range []string{"f", "g"} {
			p.Family(f)
			for m, size := range a.truth {
				if family, value, _ := strings.Cut(m, "/"); family == f {
					own := key("v", value)
					p.Metric(append(accountKeys[i].Labels(), own.Labels()...), int32(size))
				}
			}
		}
		groups = append(groups, Group{Key: accountKeys[i], Budget: budget, Families: p.Finish(accountKeys[i])})
	}
	if err := b.loadAll(func() ([]Group, error) { return groups, nil }); err != nil {
		t.Fatal(err)
	}
}

func (as accounts) check(t *rapid.T, b *Book, budget Budget) {
	total := 0
	for j, name := range accountJobs {
		series, all, values := as.used(j)
		total = all
		if got := b.Held(name); got != series {
			t.Fatalf("job %s holds %d, want %d", name, got, series)
		}
		if got := as.really(j); got > budget.Series {
			t.Fatalf("the upstream holds %d series of job %s, budget %d", got, name, budget.Series)
		}
		distinct := 0
		if job := b.jobs[name]; job != nil {
			for _, n := range job.values.labels.counts() {
				distinct += n
			}
		}
		if distinct != len(values) || distinct > budget.LabelValues {
			t.Fatalf("job %s has %d values, want %d", name, distinct, len(values))
		}
	}
	if b.Series() != total || b.entry(0).series != total {
		t.Fatalf("%d series in all, %d of the entry, want %d", b.Series(), b.entry(0).series, total)
	}
	if got := as.really(0) + as.really(1); got > min(budget.EntrySeries, budget.GuardSeries) {
		t.Fatalf("the upstream holds %d series, more than all may", got)
	}
	for i, a := range as {
		for m, n := range a.truth {
			if a.booked()[m] < n {
				t.Fatalf("group %s holds %s, and the book does not know", accountKeys[i], m)
			}
		}
	}
}
