package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

const (
	// maxChanges is how many changes Diff tells, maxChange how many characters of one.
	maxChanges = 100
	maxChange  = 300
)

// Diff tells in words what became of old in p: entries added, removed and moved, and
// what changed in each that is in both, one text each, at most 100 of at most 300
// characters and how many more. What entries inherit is told once, of default.
// Policies that say the same have no difference, however they are written.
func (p *Policy) Diff(old *Policy) []string {
	d := &difference{was: byName(old), is: byName(p)}
	d.top(old, p)
	fallback := d.entry(old.fallback(), p.fallback(), nil)
	for _, e := range old.entries[:len(old.entries)-1] {
		if d.is[e.Name] == nil {
			d.say("%s: removed", title(e))
		}
	}
	for _, e := range p.entries {
		before := d.was[e.Name]
		switch {
		case e == p.fallback():
		case before == nil:
			d.say("%s: added (owner %s, mode %s)", title(e), owner(e.Owner), e.Mode)
		default:
			d.entry(before, e, fallback)
		}
	}
	d.moves(old, p)
	if n := len(d.changes) - maxChanges; n > 0 {
		d.changes = append(d.changes[:maxChanges], fmt.Sprintf("and %d more", n))
	}
	return d.changes
}

func (p *Policy) fallback() *Entry { return p.entries[len(p.entries)-1] }

// byName finds entries by their patterns. A job may be named default, which the
// pattern default is not.
func byName(p *Policy) map[string]*Entry {
	out := make(map[string]*Entry, len(p.entries))
	for _, e := range p.entries[:len(p.entries)-1] {
		out[e.Name] = e
	}
	return out
}

type difference struct {
	was, is map[string]*Entry
	changes []string
}

func (d *difference) say(format string, args ...any) {
	text := []rune(strings.Map(printable, fmt.Sprintf(format, args...)))
	if len(text) > maxChange {
		text = append(text[:maxChange], '…')
	}
	d.changes = append(d.changes, string(text))
}

// top tells what concerns no entry.
func (d *difference) top(old, p *Policy) {
	for _, c := range changed([]aspect{
		{"budget series", unlimited(old.series)},
		{"budget groups", unlimited(old.groups)},
		{"fold_jobs", listOf(old.folded)},
		{"auth", old.auth.words()},
	}, []aspect{
		{"budget series", unlimited(p.series)},
		{"budget groups", unlimited(p.groups)},
		{"fold_jobs", listOf(p.folded)},
		{"auth", p.auth.words()},
	}) {
		d.tell("", c)
	}
}

// tell says a change, of a list that is too long to be told whole what is not the same.
func (d *difference) tell(whose string, c change) {
	whole := fmt.Sprintf("%s%s: %s → %s", whose, c.name, c.before, c.after)
	if utf8.RuneCountInString(whole) > maxChange {
		before, after := apart(c.before, c.after)
		whole = fmt.Sprintf("%s%s: %s → %s", whose, c.name, before, after)
	}
	d.say("%s", whole)
}

// apart returns two lists without the items that both begin and end with.
func apart(before, after string) (string, string) {
	separator := ", "
	if strings.Contains(before+after, "; ") {
		separator = "; "
	}
	b, a := strings.Split(before, separator), strings.Split(after, separator)
	most, head, tail := min(len(b), len(a)), 0, 0
	for head < most && b[head] == a[head] {
		head++
	}
	for tail < most-head && b[len(b)-1-tail] == a[len(a)-1-tail] {
		tail++
	}
	between := func(items []string) string {
		middle := slices.Clone(items[head : len(items)-tail])
		if head > 0 {
			middle = slices.Insert(middle, 0, left)
		}
		if tail > 0 {
			middle = append(middle, left)
		}
		return strings.Join(middle, separator)
	}
	return between(b), between(a)
}

// entry tells what changed in an entry but for what is in known, and returns all of
// it.
func (d *difference) entry(before, after *Entry, known []change) []change {
	changes := changed(before.aspects(), after.aspects())
	for _, c := range changes {
		if !slices.Contains(known, c) {
			d.tell(title(after)+": ", c)
		}
	}
	return changes
}

// moves tells which entries stand elsewhere among those that are in both: the fewest
// that explain the new order.
func (d *difference) moves(old, p *Policy) {
	at := make(map[string]int)
	for i, e := range old.entries[:len(old.entries)-1] {
		at[e.Name] = i
	}
	var order []int
	var kept []*Entry
	for _, e := range p.entries[:len(p.entries)-1] {
		if i, ok := at[e.Name]; ok {
			order, kept = append(order, i), append(kept, e)
		}
	}
	stays := rising(order)
	for i, e := range kept {
		switch {
		case stays[i]:
		case i == 0:
			d.say("%s: moved to the top", title(e))
		default:
			d.say("%s: moved behind %s", title(e), title(kept[i-1]))
		}
	}
}

// rising marks the items of a longest rising part of the list.
func rising(list []int) []bool {
	ends, before := []int{}, make([]int, len(list)) // indices
	for i, v := range list {
		at, _ := slices.BinarySearchFunc(ends, v, func(end, v int) int { return list[end] - v })
		before[i] = -1
		if at > 0 {
			before[i] = ends[at-1]
		}
		if at == len(ends) {
			ends = append(ends, i)
		}
		ends[at] = i
	}
	stays := make([]bool, len(list))
	if len(ends) == 0 {
		return stays
	}
	for i := ends[len(ends)-1]; i >= 0; i = before[i] {
		stays[i] = true
	}
	return stays
}

// aspect is one thing that an entry says, in words.
type aspect struct{ name, value string }

// change is an aspect that says something else than before.
type change struct{ name, before, after string }

// changed pairs what two lists of the same aspects say.
func changed(before, after []aspect) []change {
	var out []change
	for i := range after {
		if before[i].value != after[i].value {
			out = append(out, change{after[i].name, before[i].value, after[i].value})
		}
	}
	return out
}

// aspects are everything that an entry says, what it inherits included.
func (e *Entry) aspects() []aspect {
	w, b := &e.written, e.own
	out := []aspect{
		{"owner", owner(e.Owner)},
		{"mode", string(e.Mode)},
		{"push", "[" + strings.Join(e.push, ", ") + "]"},
		{"budget series", unlimited(b.Series)},
		{"budget borrow", strconv.Itoa(b.Borrow)},
		{"budget groups", unlimited(b.Groups)},
		{"budget new_series_per_hour", unlimited(b.NewSeriesPerHour)},
		{"budget new_series_per_day", unlimited(b.NewSeriesPerDay)},
		{"budget label_values", unlimited(b.LabelValues)},
		{"budget pushes_per_minute", unlimited(b.PushesPerMinute)},
		{"budget until", lastDay(b)},
		{"entry_budget series", unlimited(e.EntryBudget)},
		{"entry_budget jobs", unlimited(e.EntryJobs)},
		{"entry_budget new_jobs_per_day", unlimited(e.EntryNewJobsPerDay)},
		{"on_over_budget", string(e.OnOverBudget)},
		{"stale_after", lifetime(e)},
		{"keep_last_success", strconv.FormatBool(e.KeepLastSuccess)},
		{"merge", string(e.Merge)},
		{"on_refuse", map[bool]string{true: accept, false: "reject"}[e.AcceptRefused]},
		{"body_size_limit", unlimited(int(w.limits.bodySize.value))},
		{"sample_limit", unlimited(int(w.limits.samples.value))},
		{"label_limit", unlimited(int(w.limits.labels.value))},
		{"label_name_length_limit", unlimited(int(w.limits.nameLength.value))},
		{"label_value_length_limit", unlimited(int(w.limits.valueLength.value))},
		{"labels", listOf(w.labels)},
		{"rules", rulesOf(w.rules)},
		{"relabel_configs", relabelOf(w.relabel)},
	}
	return append(out, w.counters.aspects()...)
}

// words says who may do what, by names alone.
func (a *Auth) words() string {
	push := "off"
	if a.PushRequired {
		push = "required"
	}
	return fmt.Sprintf("push %s, read %s, admin %s, users [%s]", push, a.Read.words(), a.Admin.words(), strings.Join(a.Users.Names(), ", "))
}

func (r Right) words() string {
	if r.anyone {
		return "anybody"
	}
	return "[" + strings.Join(r.names, ", ") + "]"
}

func (k *counters) aspects() []aspect {
	var families []string
	for _, f := range k.families.list {
		families = append(families, strings.TrimSpace(strings.Join([]string{
			listOf(f.metrics), "as", f.as.text, f.semantics.text, typesOf(f.types),
		}, " ")))
	}
	return []aspect{
		{"counters route", or(k.route.text, string(RouteAuto))},
		{"counters semantics", or(k.semantics.text, "auto")},
		{"counters unknown_first", or(k.unknownFirst.text, string(CountFirst))},
		{"counters run_labels", listOf(k.runLabels)},
		{"counters families", joined(families)},
	}
}

func rulesOf(l ruleList) string {
	var out []string
	for _, r := range l.list {
		said := []string{r.id.text, ":", r.action.text}
		for _, n := range []struct {
			name string
			number
		}{{"buckets", r.buckets}, {"length", r.length}} {
			if n.written() {
				said = append(said, n.name, strconv.FormatInt(n.value, 10))
			}
		}
		if r.replacement.written() {
			said = append(said, "by", strconv.Quote(r.replacement.text))
		}
		if r.labels.written() {
			said = append(said, "labels", listOf(r.labels))
		}
		if r.shapes.written() {
			said = append(said, "shapes", listOf(r.shapes))
		}
		if r.gauges.written() {
			said = append(said, "gauges", r.gauges.text)
		}
		out = append(out, strings.Replace(strings.Join(said, " "), " :", ":", 1))
	}
	return joined(out)
}

func relabelOf(l relabelList) string {
	var out []string
	for _, r := range l.readable() {
		c := r.config
		out = append(out, fmt.Sprintf("%s [%v] by %q modulus %d to %q %q with %q",
			c.Action, c.SourceLabels, c.Regex.String(), c.Modulus, c.TargetLabel, c.Replacement, c.Separator))
	}
	return joined(out)
}

func title(e *Entry) string {
	if !e.isJob {
		return "default"
	}
	return fmt.Sprintf("job %q", cut(e.Name))
}

func owner(name string) string { return or(name, "nobody") }

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// unlimited is a limit, of which 0 is none.
func unlimited(n int) string {
	if n == 0 {
		return "none"
	}
	return strconv.Itoa(n)
}

func lastDay(b Budget) string {
	if b.Until.IsZero() {
		return "for ever"
	}
	return b.Until.Format(time.DateOnly)
}

func lifetime(e *Entry) string {
	if e.StaleAfter == 0 {
		return "never"
	}
	return model.Duration(e.StaleAfter).String()
}

// listOf is a list as it is written; the empty one is not the one left out.
func listOf(w words) string {
	if !w.written() {
		return "none"
	}
	return "[" + strings.Join(texts(w), ", ") + "]"
}

func typesOf(w words) string {
	if !w.written() {
		return ""
	}
	return "of " + listOf(w)
}

func joined(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, "; ")
}
