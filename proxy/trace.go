package proxy

import (
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// Trace is how one write went through the guard, step by step, for people who
// want to know why. A step that was not reached is absent. Its JSON is part of
// the interface: fields are added, never renamed.
type Trace struct {
	Method string `json:"method"`
	// Path is the escaped path as the client sent it.
	Path string `json:"path"`
	// Policy is the digest of the policy file.
	Policy string `json:"policy"`
	// Key is absent if the path is none of a group.
	Key   *TraceKey   `json:"key,omitempty"`
	Entry *TraceEntry `json:"entry,omitempty"`
	Body  *TraceBody  `json:"body,omitempty"`
	// Changes are what the rules, the allowlist and the limits said about labels:
	// what they did if the mode is enforce, what they would do if it is report.
	Changes []TraceChange `json:"changes,omitempty"`
	// Merges are the metrics that became equal and were joined.
	Merges []TraceMerge `json:"merges,omitempty"`
	// Families are the families of the body by what they are taken for: what adds
	// up leaves the snapshot, and only its increments go on.
	Families []TraceFamily `json:"families,omitempty"`
	// Metrics is what became of the body's metrics, by the rules.
	Metrics *TraceMetrics `json:"metrics,omitempty"`
	Ledger  *TraceLedger  `json:"ledger,omitempty"`
	// Budget is what the ledger said of the job's budget under enforcement.
	Budget *TraceBudget `json:"budget,omitempty"`
	// Findings are all findings of the push, as the audit log has them.
	Findings     []finding.Finding `json:"findings,omitempty"`
	MoreFindings int               `json:"more_findings,omitempty"`
	// Outcome is passed, changed, refused, skipped or failed.
	Outcome string `json:"outcome"`
	// Would is the outcome that enforce would have, in report alone.
	Would  string      `json:"would,omitempty"`
	Answer TraceAnswer `json:"answer"`
}

// TraceKey is the grouping key.
type TraceKey struct {
	// Pushed is the key as the client sent it, Group as the policy would have it:
	// job folded, rules applied.
	Pushed map[string]string `json:"pushed"`
	Group  map[string]string `json:"group"`
}

// TraceEntry is the policy entry that governs the push.
type TraceEntry struct {
	Name string `json:"name"`
	// Line is where the entry stands in the file; 0 for a default not written.
	Line  int    `json:"line,omitempty"`
	Owner string `json:"owner,omitempty"`
	Mode  string `json:"mode"`
	// Job is the name by which the entry was found: the pushed one, folded.
	Job string `json:"job"`
}

// TraceBody is what was read from the body.
type TraceBody struct {
	Encoding string `json:"encoding"` // text or protobuf
	Bytes    int    `json:"bytes"`    // as received
	Decoded  int    `json:"decoded_bytes"`
	Families int    `json:"families"`
	Metrics  int    `json:"metrics"` // a histogram or summary is one
	Samples  int    `json:"samples"` // histograms and summaries expanded
}

// TraceAct is what was done to a label, or because of it.
type TraceAct string

// The acts.
const (
	LabelDropped  TraceAct = "dropped"  // the label goes
	LabelReplaced TraceAct = "replaced" // its value becomes another
	LabelAdded    TraceAct = "added"    // it was not pushed
	MetricLeftOut TraceAct = "left out" // the metric does not go on
	PushRefused   TraceAct = "refused"  // the push does not
)

// TraceChange is what one rule did to one label of one family, or of the
// grouping key, in all of its metrics.
type TraceChange struct {
	// Rule is the id of the rule, or of the guard's own finding.
	Rule string `json:"rule"`
	// Line is where the rule stands in the policy file; 0 if it does not.
	Line int `json:"line,omitempty"`
	// Metric is empty for the grouping key.
	Metric string   `json:"metric,omitempty"`
	Label  string   `json:"label,omitempty"`
	Act    TraceAct `json:"act"`
	// Values are the first three different ones.
	Values []TraceValue `json:"values,omitempty"`
	// Count is how many metrics it concerns.
	Count int `json:"count"`
	// Seen was held against Limit, for a limit.
	Seen  int `json:"seen,omitempty"`
	Limit int `json:"limit,omitempty"`
}

// TraceValue is a value before and after, both redacted.
type TraceValue struct {
	Before string `json:"before"`
	After  string `json:"after,omitempty"`
}

// TraceFamily is what a family of the body is taken for, and why.
type TraceFamily struct {
	Family string `json:"family"`
	Type   string `json:"type"` // as declared
	// Class is counter, snapshot, event, drop, evidence or noise, and Reason says
	// what that follows from; Line is that of the policy where it said so.
	Class  string `json:"class"`
	Reason string `json:"reason"`
	Line   int    `json:"line,omitempty"`
	// Route is where the increments of a counter go: totals, statsd, or snapshot
	// where it stays as it is.
	Route string `json:"route,omitempty"`
	// Semantics are those of a counter, Evidence what tells its source from others.
	Semantics string `json:"semantics,omitempty"`
	Evidence  string `json:"evidence,omitempty"`
	// Increment is what the push adds to all of the family's series: of a
	// histogram or summary, observations. Absent if nothing is added up.
	Increment *float64 `json:"increment,omitempty"`
}

// TraceMerge is several metrics that became one.
type TraceMerge struct {
	Metrics int `json:"metrics"`
	// Parts are the first three of them as lines of text, redacted; Whole is the
	// one they became.
	Parts []string `json:"parts"`
	Whole string   `json:"whole"`
}

// TraceMetrics counts the metrics of a body by what the rules made of them.
type TraceMetrics struct {
	Passed  int `json:"passed"`
	Changed int `json:"changed"`
	// LeftOut counts those that do not go on by themselves, merged ones included.
	LeftOut int `json:"left_out"`
}

// TraceLedger is what the ledger decided.
type TraceLedger struct {
	Group map[string]string `json:"group"`
	// Method is what is sent: POST in place of a PUT that would erase what other
	// runs have pushed to the group.
	Method string `json:"method"`
	// Skip says that a DELETE is not sent: another run has pushed since.
	Skip bool `json:"skip,omitempty"`
	// Shared are the families that another run wrote last.
	Shared []string `json:"shared_families,omitempty"`
}

// TraceBudget is what a job holds once the push is booked, and what it may hold.
type TraceBudget struct {
	// Held counts series, the upstream's own two of each group among them.
	Held int `json:"held"`
	// Limit is 0 where nothing limits the job.
	Limit int `json:"limit,omitempty"`
	// LeftOut counts the new metrics for which there was no room.
	LeftOut int `json:"left_out,omitempty"`
}

// TraceAnswer is what the client is told.
type TraceAnswer struct {
	Status      int    `json:"status"`
	ContentType string `json:"content_type,omitempty"`
	Body        string `json:"body,omitempty"`
}

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
		c := TraceChange{Rule: f.ID, Line: v.entry.LineOf(f.ID), Metric: strings.Clone(f.Metric), Label: strings.Clone(f.Label), Act: act, Limit: f.Limit}
		if f.Limit > 0 {
			c.Seen = f.Count
		}
		value := TraceValue{Before: f.Sample}
		if now, ok := named(after, f.Label); ok && act == LabelDropped {
			c.Act, value.After = LabelReplaced, finding.Redact(now)
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
		Families: families, Metrics: len(p.Metrics), Samples: p.Expanded,
	}
	if v.refused() {
		return // nothing was merged, or not everything
	}
	for _, m := range p.Merged(v.fates, traceShown) {
		v.trace.Merges = append(v.trace.Merges, TraceMerge(m))
	}
}

// traceClasses notes what the families are taken for.
func (v *passage) traceClasses(g *Guard) {
	if v.trace == nil {
		return
	}
	n := &v.counts
	for i := range n.classes {
		f, c := &v.push.Families[i], &n.classes[i]
		if f.Metrics == 0 {
			continue
		}
		t := TraceFamily{
			Family: strings.Clone(f.Name), Type: strings.ToLower(f.Type.String()),
			Class: string(c.Class), Reason: c.Reason, Semantics: string(c.Semantics),
		}
		if c.Rule > 0 {
			t.Line = v.entry.FamilyLine(c.Rule)
		}
		if c.Class == rules.ClassCounter {
			t.Route = g.route(v.entry).String()
			if n.stays[i] {
				t.Route = toSnapshot.String()
			}
		}
		v.trace.Families = append(v.trace.Families, t)
	}
}

// traceCounters notes what the counters of the push add up to.
func (v *passage) traceCounters() {
	if v.trace == nil {
		return
	}
	n := &v.counts
	for i, added := range n.added.All() {
		family := v.push.Families[v.push.Metrics[n.metrics[i]].Family].Name
		at := slices.IndexFunc(v.trace.Families, func(t TraceFamily) bool { return t.Family == family })
		if at < 0 {
			continue
		}
		t := &v.trace.Families[at]
		if t.Increment == nil {
			t.Increment = new(float64)
		}
		*t.Increment += added.Value + added.Count
		t.Evidence = n.readings[i].Source.String()
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

func (v *passage) traceRuling(r ledger.Ruling) {
	if v.trace != nil {
		v.trace.Budget = &TraceBudget{Held: r.Held, Limit: r.Max, LeftOut: len(r.Trimmed)}
	}
}

// traced hands on the trace with all that the passage knows at its end.
func (v *passage) traced(e *epoch, a Answer, outcome Outcome, to func(Trace)) {
	t := v.trace
	t.Method, t.Path, t.Policy = v.request.Method, v.request.Path, e.policy.Digest()
	t.Findings, t.MoreFindings = slices.Clone(v.findings.All()), v.findings.More()
	for i := range t.Findings { // the names may be of the body, which is not kept
		f := &t.Findings[i]
		f.Metric, f.Label = strings.Clone(f.Metric), strings.Clone(f.Label)
	}
	t.Outcome = outcome.String()
	t.Answer = TraceAnswer{Status: a.Status, ContentType: a.Header.Get("Content-Type"), Body: string(a.Body)}
	if v.entry != nil {
		t.Key = &TraceKey{Pushed: keyMap(v.raw), Group: keyMap(v.group)}
		t.Entry = &TraceEntry{Name: v.entry.Name, Line: v.entry.Line, Owner: v.entry.Owner, Mode: string(v.entry.Mode), Job: v.job}
		if v.entry.Mode == policy.Report {
			t.Would = v.said().String()
		}
	}
	if t.Body != nil {
		t.Metrics = countFates(v.fates)
	}
	to(*t)
}

func countFates(fates []wire.Fate) *TraceMetrics {
	var n TraceMetrics
	for i := range fates {
		switch fates[i].Act {
		case wire.Pass:
			n.Passed++
		case wire.Relabel:
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
