package proxy

import (
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// traceShown is how many equal things a trace shows before it only counts.
const traceShown = 3

// The methods below note the steps of a passage. They cost a comparison where
// nobody traces.

func (v *passage) traceKey(before []labels.Label, after []labels.Label, found []finding.Finding) {
	if v.trace == nil {
		return
	}
	act := LabelDropped
	if v.refused() {
		act = PushRefused
	}
	v.traceChanges(found, act, before, after)
}

func (v *passage) traceMetric(metric int, said *verdict) {
	if v.trace == nil || len(said.findings) == 0 {
		return
	}
	act := LabelDropped
	switch {
	case said.rejected:
		act = PushRefused
	case said.fate.Act == wire.LeaveOut:
		act = MetricLeftOut
	}
	v.traceChanges(said.findings, act, v.push.Labels(nil, metric), said.fate.Labels)
}

// traceChanges notes one change a finding. Where act is to drop the label, what
// is left of it says whether that is what happened.
func (v *passage) traceChanges(found []finding.Finding, act TraceAct, before, after []labels.Label) {
	for _, f := range found {
		place := v.entry.PlaceOf(f.ID, v.started)
		c := TraceChange{Rule: f.ID, File: place.File, Line: place.Line, Metric: strings.Clone(f.Metric), Label: strings.Clone(f.Label), Act: act, Limit: f.Limit}
		if f.Limit > 0 {
			c.Seen = f.Count
		}
		value := TraceValue{Before: f.Sample}
		if now, ok := named(after, f.Label); ok && act == LabelDropped {
			c.Act, value.After = LabelReplaced, finding.RedactLabel(f.Label, now)
			if _, was := named(before, f.Label); !was {
				c.Act, value.Before = LabelAdded, ""
			}
		}
		v.trace.note(c, value)
	}
}

// named returns the value of the label that a finding names, whose name it may
// have cut.
func named(ls []labels.Label, name string) (string, bool) {
	head, cut := strings.CutSuffix(name, "…")
	for _, l := range ls {
		if l.Name == name || cut && strings.HasPrefix(l.Name, head) {
			return l.Value, true
		}
	}
	return "", false
}

// note adds a change to its like.
func (t *Trace) note(c TraceChange, value TraceValue) {
	i := slices.IndexFunc(t.Changes, func(o TraceChange) bool {
		return o.Rule == c.Rule && o.Metric == c.Metric && o.Label == c.Label && o.Act == c.Act
	})
	if i < 0 {
		i = len(t.Changes)
		t.Changes = append(t.Changes, c)
	}
	like := &t.Changes[i]
	like.Count++
	like.Seen = max(like.Seen, c.Seen)
	if value.Before+value.After != "" && len(like.Values) < traceShown && !slices.Contains(like.Values, value) {
		like.Values = append(like.Values, value)
	}
}

// traceBody notes the body once it is judged.
func (v *passage) traceBody() {
	if v.trace == nil {
		return
	}
	p := &v.push
	encoding := "text"
	if wire.IsProtobuf(v.request.Header.Get("Content-Type")) {
		encoding = "protobuf"
	}
	families := 0
	for i := range p.Families {
		families += min(int(p.Families[i].Metrics), 1)
	}
	v.trace.Body = &TraceBody{
		Encoding: encoding, Bytes: len(v.received), Decoded: len(v.decoded),
		Families: families, Metrics: len(p.Metrics()), Samples: p.Expanded,
	}
	if v.refused() {
		return // nothing was merged, or not everything
	}
	v.traceMerges()
}

// traceMerges notes what of the snapshot was joined.
func (v *passage) traceMerges() {
	v.trace.Merges = nil
	for _, m := range v.push.Merged(v.fates, traceShown) {
		v.trace.Merges = append(v.trace.Merges, TraceMerge(m))
	}
}

func (v *passage) traceGrant(c ledger.Claim, g *ledger.Grant) {
	if v.trace == nil {
		return
	}
	v.trace.Ledger = &TraceLedger{Group: keyMap(c.Group), Method: g.Method, Skip: g.Skip}
	for _, family := range g.Shared {
		v.trace.Ledger.Shared = append(v.trace.Ledger.Shared, strings.Clone(family))
	}
}

// budget is where a trace tells of the budget.
func (t *Trace) budget() *TraceBudget {
	if t.Budget == nil {
		t.Budget = &TraceBudget{}
	}
	return t.Budget
}

// traceRuling notes what the ledger says of what stays in the snapshot.
func (v *passage) traceRuling(r ledger.Ruling) {
	if v.trace == nil {
		return
	}
	if len(r.Collapsed) > 0 { // what is left has been merged once more
		v.traceMerges()
	}
	v.traceRoom(r)
	for _, victim := range r.Evict {
		b := v.trace.budget()
		b.OnOver = v.onOver()
		b.Evicted = append(b.Evicted, keyMap(victim))
	}
}

// traceRoom notes what there is room for, of a snapshot or of its counters.
func (v *passage) traceRoom(r ledger.Ruling) {
	if v.trace == nil {
		return
	}
	b := v.trace.budget()
	b.Held, b.Limit = r.Held, r.Max
	b.LeftOut += len(r.Trimmed)
	b.Collapsed += len(r.Collapsed)
	v.traceExcess(r.Excess, true)
}

// onOver is what the entry says of a push over a budget.
func (v *passage) onOver() *TraceOnOver {
	place := v.entry.OverBudgetPlace()
	return &TraceOnOver{Ruling: string(v.entry.OnOverBudget), File: place.File, Line: place.Line}
}

// traceExcess notes the limits that the push passes, and whether on_over_budget has
// decided what becomes of new metrics: a group too many is not its affair.
func (v *passage) traceExcess(all []ledger.Excess, ruled bool) {
	if v.trace == nil {
		return
	}
	b := v.trace.budget()
	for _, x := range all {
		name := x.Over.String()
		i := slices.IndexFunc(b.Over, func(o TraceOver) bool { return o.Budget == name })
		if i < 0 {
			i = len(b.Over)
			b.Over = append(b.Over, TraceOver{Budget: name, Limit: x.Max})
		}
		b.Over[i].Count = max(b.Over[i].Count, x.Count)
		if ruled && x.Metric >= 0 {
			b.OnOver = v.onOver()
		}
	}
}

// traceUse notes what the job holds and has brought, once the push is booked.
func (v *passage) traceUse(g *Guard, e *epoch, outcome Outcome) {
	if v.entry == nil {
		return
	}
	book := g.book
	if v.entry.Mode == policy.Report {
		book = g.shadow
	}
	report, _ := book.Job(v.job, 0)
	use := report.JobUse
	if v.foresees() {
		use = v.traceBefore(use, v.foresight.change(book))
	}
	b := v.trace.Budget
	if b == nil {
		return
	}
	granted := e.budget(v.entry, v.started)
	if b.Before != nil {
		b.Held = use.Series
	}
	if outcome == Refused { // whatever there would have been room for
		b.Held, b.Limit = use.Series, granted.Series
		b.LeftOut, b.Collapsed, b.Evicted = 0, 0, nil
	}
	b.Groups, b.GroupsLimit = use.Groups, granted.Groups
	b.NewThisHour, b.NewThisHourLimit = use.NewThisHour, granted.NewSeriesPerHour
	b.NewThisDay, b.NewThisDayLimit = use.NewThisDay, granted.NewSeriesPerDay
}

// traceBefore notes what the job holds before a write that is only explained, where
// there is a budget or something would change, and returns what it would hold.
func (v *passage) traceBefore(use ledger.JobUse, c ledger.Change) ledger.JobUse {
	if v.trace.Budget != nil || c != (ledger.Change{}) {
		v.trace.budget().Before = &TraceUse{Held: use.Series, Groups: use.Groups, NewThisHour: use.NewThisHour, NewThisDay: use.NewThisDay}
	}
	use.Series, use.Groups = use.Series+c.Series, use.Groups+c.Groups
	use.NewThisHour, use.NewThisDay = use.NewThisHour+c.New, use.NewThisDay+c.New
	return use
}

// traced completes the trace with all that the passage knows at its end.
func (v *passage) traced(g *Guard, e *epoch, a Answer, outcome Outcome) {
	t := v.trace
	t.Method, t.Path, t.Policy = v.request.Method, v.request.Path, e.policy.Digest()
	t.MoreFindings = v.findings.More()
	for _, f := range v.findings.All() { // the names may be of the body, which is not kept
		f.Metric, f.Label = strings.Clone(f.Metric), strings.Clone(f.Label)
		t.Findings = append(t.Findings, TraceFinding{Finding: f})
	}
	t.Outcome = outcome.String()
	t.Answer = TraceAnswer{Status: a.Status, ContentType: a.Header.Get("Content-Type"), Body: string(a.Body)}
	if v.entry != nil {
		t.Key = &TraceKey{Pushed: keyMap(v.raw), Group: keyMap(v.group)}
		t.Entry = &TraceEntry{Name: v.entry.Name, File: v.entry.File, Line: v.entry.Line, Owner: v.entry.Owner, Mode: string(v.entry.Mode), Job: v.job}
		if v.entry.Mode == policy.Report {
			t.Would = v.would(outcome).String()
		}
	}
	if t.Body != nil {
		t.Metrics = v.countFates()
	}
	v.traceUse(g, e, outcome)
	v.tracePlaces(g, e)
}

func (v *passage) countFates() *TraceMetrics {
	var n TraceMetrics
	for i := range v.fates {
		switch {
		case v.counts.leaves(i) == counted:
			n.Counted++
		case v.fates[i].Act == wire.Pass:
			n.Passed++
		case v.fates[i].Act == wire.Relabel:
			n.Changed++
		default:
			n.LeftOut++
		}
	}
	return &n
}

func keyMap(k wire.Key) map[string]string {
	out := make(map[string]string, len(k.Labels()))
	for _, l := range k.Labels() {
		out[strings.Clone(l.Name)] = strings.Clone(l.Value)
	}
	return out
}

// traceEvents keeps copies of the records of metrics: their text is the push's.
func (v *passage) traceEvents(records []event.Record) {
	if v.trace == nil {
		return
	}
	for _, r := range records {
		if r.Labels == nil {
			continue
		}
		r.ID, r.PushID, r.Time = event.ID{}, "", time.Time{}
		if c, err := r.Clone(); err == nil {
			v.trace.Events = append(v.trace.Events, c)
		}
	}
}
