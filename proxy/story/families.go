package story

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/rules"
)

// maxNames is how many families of one kind are named.
const maxNames = 5

// families tells what the families of the body are taken for: each counter by
// itself, all others that are alike in one line.
func (s *story) families(e *proxy.Trace) {
	name := "families"
	told := make([]bool, len(e.Families))
	for i := range e.Families {
		if told[i] {
			continue
		}
		var like []*proxy.TraceFamily
		for j := i; j < len(e.Families); j++ {
			if !told[j] && (i == j || alike(&e.Families[i], &e.Families[j])) {
				like, told[j] = append(like, &e.Families[j]), true
			}
		}
		s.step(name, plain, "%s%s: %s (%s)%s", s.optional(like[0].File, like[0].Line), namesOf(like), like[0].Class, like[0].Reason, fateOf(e, like))
		name = ""
		if like[0].Class == string(rules.ClassCounter) && e.Accepted() {
			s.counter(e, like)
		}
	}
}

// alike reports whether two families are told as one.
func alike(a, b *proxy.TraceFamily) bool {
	if a.Class == string(rules.ClassCounter) && a.Unit == "" {
		return false
	}
	return a.Class == b.Class && a.Reason == b.Reason && a.Line == b.Line && a.File == b.File && a.Unit == b.Unit && (a.LeftOut == a.Metrics) == (b.LeftOut == b.Metrics)
}

func namesOf(like []*proxy.TraceFamily) string {
	names := make([]string, 0, maxNames)
	for _, f := range like[:min(len(like), maxNames)] {
		names = append(names, f.Family)
	}
	text := strings.Join(names, ", ")
	if n := len(like) - len(names); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// fateOf says what becomes of families that neither count nor are a snapshot.
func fateOf(e *proxy.Trace, like []*proxy.TraceFamily) string {
	f := like[0]
	switch {
	case !e.Accepted() || f.Metrics == 0:
		return ""
	case f.Class == string(rules.ClassEvidence) && f.LeftOut == 0:
		return ", which nothing here needs: stays"
	case f.Class == string(rules.ClassEvidence), f.Class == string(rules.ClassEvent), f.Class == string(rules.ClassDrop):
		return ", " + would(e, "left out", "would be left out")
	default:
		return ""
	}
}

// would returns what is, or what it would be under enforcement.
func would(e *proxy.Trace, is, would string) string {
	if e.Entry != nil && e.Entry.Mode != string(policy.Enforce) {
		return would
	}
	return is
}

// counter tells what a counter adds up to, and where that goes.
func (s *story) counter(e *proxy.Trace, like []*proxy.TraceFamily) {
	f := like[0] // that of a histogram in parts which tells of all of them
	metrics, counts, leftOut := 0, 0, 0
	for _, part := range like {
		metrics, counts, leftOut = metrics+part.Metrics, counts+part.Counted, leftOut+part.LeftOut
		if part.Increment != nil {
			f = part
		}
	}
	switch {
	case f.Route == string(policy.RouteSnapshot):
		s.more(yellow, "  stays in the snapshot: nothing is added up, and the last push stands")
	case counts == 0 && leftOut == metrics:
		s.more(yellow, "  nothing of it is added up: it is left out")
	case counts == 0:
		s.more(yellow, "  stays in the snapshot: buckets of a native histogram do not travel as increments")
	case f.Increment == nil:
		s.more(yellow, "  nothing of it is added up: the budget has no room for it")
	default:
		one := counts == 1
		s.more(cyan, "  %s %s the snapshot and %s %s to %s:", howMany(counts, metrics),
			would(e, ofOne(one, "leaves", "leave"), "would leave"), would(e, ofOne(one, "adds", "add"), "add"), amount(f), destination(f.Route))
		s.added(f)
	}
}

// added tells of the series that increments are added to.
func (s *story) added(f *proxy.TraceFamily) {
	name := f.Family
	if f.Unit != "" {
		name = f.Unit
	}
	for _, a := range f.Added {
		s.more(green, "    %s%s +%s%s", name, keyText(a.Labels), number(a.Increment), sumText(a.Sum))
	}
	if f.MoreAdded > 0 {
		s.more(dim, "    and %d more", f.MoreAdded)
	}
	s.more(plain, "  %s", again(f))
	if slices.Contains(f.How, "ignored") {
		s.more(yellow, "  whether it was counted before is not known, and unknown_first is ignore: what it starts from counts nothing")
	}
}

// howMany says how many metrics of a family count.
func howMany(n, of int) string {
	if n == of {
		return counted(n, "metric", "metrics")
	}
	return fmt.Sprintf("%d of %d metrics", n, of)
}

// ofOne picks the word for one, or for many.
func ofOne(one bool, word, words string) string {
	if one {
		return word
	}
	return words
}

// amount is what is added to all series of a family.
func amount(f *proxy.TraceFamily) string {
	text := number(*f.Increment)
	if f.Unit == "" && f.Type != "histogram" && f.Type != "summary" {
		return text
	}
	return text + " " + ofOne(*f.Increment == 1, "observation", "observations")
}

// destination is where increments go, in words.
func destination(route string) string {
	if route == string(policy.RouteStatsD) {
		return "what is sent to StatsD"
	}
	return "the guard's totals"
}

func sumText(sum *float64) string {
	if sum == nil {
		return ""
	}
	if *sum < 0 {
		return ", sum " + number(*sum)
	}
	return ", sum +" + number(*sum)
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// again says what the same counter would count for if it were pushed once more.
func again(f *proxy.TraceFamily) string {
	const grew = "; pushed again, it counts by what it grew"
	switch {
	case f.Semantics == string(rules.Delta):
		return "semantics are delta: every value counts in full"
	case f.Evidence == "created":
		return "told from others by when it was created" + grew
	case f.Evidence == "process":
		return "told from others by when its process started" + grew
	case f.Evidence == "run":
		return "told from others by a label that names the run" + grew
	case f.Semantics == string(rules.Cumulative):
		return "semantics are cumulative" + grew
	default:
		return "nothing tells it from others: pushed again, it counts in full once more"
	}
}

// left tells how much of the snapshot is left, where counters leave it.
func (s *story) left(e *proxy.Trace) {
	if e.Metrics == nil || e.Metrics.Counted == 0 || !e.Accepted() {
		return
	}
	goOn := e.Metrics.Passed + e.Metrics.Changed
	if goOn == 0 {
		s.step("snapshot", plain, "%s: the group %s when the job pushed, and nothing else",
			would(e, "no metric is left", "no metric would be left"), would(e, "tells", "would tell"))
		return
	}
	s.step("snapshot", plain, "%d of %s %s on", goOn, counted(e.Body.Metrics, "metric", "metrics"), would(e, ofOne(goOn == 1, "goes", "go"), "would go"))
}

// maxEvents is how many records are shown.
const maxEvents = 3

// events shows the records that leave for the event log.
func (s *story) events(e *proxy.Trace) {
	for i := range e.Events {
		if i == maxEvents {
			s.more(plain, "and %s more", counted(len(e.Events)-i, "record", "records"))
			return
		}
		name := ""
		if i == 0 {
			name = "events"
		}
		record, err := json.Marshal(e.Events[i])
		if err != nil {
			return // cannot be: it was made of JSON
		}
		s.step(name, plain, "%s", record)
	}
}
