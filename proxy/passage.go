package proxy

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/admission"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// Request is one write as a client sent it.
type Request struct {
	Method string // PUT, POST or DELETE
	// Path is the escaped path without the route prefix.
	Path   string
	Header http.Header
	// Body is read once, and only by a push. Length is its claimed length,
	// negative if there is none.
	Body   io.Reader
	Length int64
	// Client is the address of the client, for people to read.
	Client string
	// Peer is that of the socket's other end, as in http.Request.RemoteAddr.
	Peer string
	// Until ends when the client hangs up, or closes its half of the connection: nobody
	// can tell the two apart. Nil if it stays.
	Until context.Context
}

// gone reports whether the client may no longer wait for the answer.
func (r *Request) gone() bool { return r.Until != nil && r.Until.Err() != nil }

// passage is one write on its way through the guard, with the memory it needs;
// passages are pooled.
type passage struct {
	request Request
	started time.Time
	// user is who pushes, if the policy knows them; turnedAway is set for who may not.
	user       string
	turnedAway bool

	raw   wire.Key // as the client sent it
	job   string   // as it is governed: folded
	group wire.Key // as enforcement would have it
	entry *policy.Entry
	// refusals are the findings for which the rules refuse the push; they are
	// among the findings too.
	refusals finding.List
	// changed is set once the rules, or the protocol's own safety, change it.
	changed bool
	// spared is set where enforcement would not act on a DELETE.
	spared bool

	place    admission.Place // among the pushes in flight
	most     int64           // bytes that all of them may hold; 0 is no limit
	held     int64           // by it beside the body as it came
	shed     string          // why it has none
	tight    bool            // there is no memory for new series
	received []byte          // the body as it came
	decoded  []byte          // its memory is the passage's own where it was compressed
	unpacked []byte          // that memory
	push     wire.Push
	fates    []wire.Fate // of a known shape its own, until one changes; see ownFates
	verdicts []*verdict  // behind the fates, likewise; nil where safety decides; see verdict
	own      decided     // memory for them
	plain    bool        // it is large, and all of it passes: it has no verdicts, and fates only once some leave
	reclaims bool        // it is plain, and so large that stages of it make room for one another
	latest   *verdict    // of a plain push, that of the metric latestOf
	latestOf int
	secret   uint64 // of fingerprints
	known    *known // the shape of the body, if it came before
	claim    claim
	lent     claim // whose tables are those of the known shape
	counts   counting
	names    []string         // of the push's families; filled by nameOf
	last     map[string]int32 // the last family of a name; filled by superseded
	// safety are the fates that hold in every mode, nil if all pass.
	safety   []wire.Fate
	rendered []byte
	findings finding.List
	asked    []demand.Value // label values that are new to the estimator

	retryAfter     time.Duration // how long the job is to wait, where it pushes too often
	upstreamStatus int
	trace          *Trace     // nil if nobody wants one
	foresight      *foresight // nil unless the write is only explained
}

var passages = sync.Pool{New: func() any { return &passage{last: map[string]int32{}} }}

// maxAsked is how many label values are told to the estimator at once.
const maxAsked = 1024

// keptBody is the largest buffer that a pooled passage keeps.
const keptBody = 1 << 20

func (v *passage) reset() {
	v.request, v.raw, v.job, v.group, v.entry = Request{}, wire.Key{}, "", wire.Key{}, nil
	v.changed, v.spared, v.upstreamStatus, v.retryAfter = false, false, 0, 0
	v.user, v.turnedAway = "", false
	v.held, v.most, v.shed, v.tight = 0, 0, "", false
	v.received, v.unpacked, v.rendered = kept(v.received), kept(v.unpacked), kept(v.rendered)
	v.decoded, v.safety, v.trace, v.known, v.foresight = nil, nil, nil, nil, nil
	v.plain, v.reclaims, v.latest = false, false, nil
	v.push.Reset()
	v.counts.reset()
	v.fates, v.verdicts = nil, nil
	v.own.reset()
	v.lent.Claim = ledger.Claim{}
	clear(v.last)
	clear(v.names)
	v.names = v.names[:0]
	v.findings.Reset()
	v.refusals.Reset()
}

func kept(b []byte) []byte {
	if cap(b) > keptBody {
		return nil
	}
	return b[:0]
}

// address reads the path: the grouping key and the entry that governs its job.
func (v *passage) address(e *epoch, opts wire.Options) error {
	key, err := wire.ParsePath(v.request.Path, opts.UTF8Names)
	if err != nil {
		return err
	}
	if err := opts.CheckKey(key); err != nil {
		return err
	}
	v.raw, v.group = key, key
	v.job = e.policy.FoldJob(key.Job())
	v.entry = e.policy.Entry(v.job)
	return nil
}

// foldJob gives the group the folded name of its job.
func (v *passage) foldJob() {
	if v.job == v.raw.Job() {
		return
	}
	v.group = v.raw.With(labels.Label{Name: model.JobLabel, Value: v.job})
	v.changed = true
	v.note([]finding.Finding{{
		ID: finding.FoldedJob, Label: model.JobLabel, Sample: finding.Redact(v.raw.Job()), Count: 1,
		Fix: "name the job " + strconv.Quote(v.job) + ": the name of a run in it makes a new job of every run",
	}}, false)
}

// judgeKey holds the grouping key to the rules.
func (v *passage) judgeKey() {
	if v.entry.Mode == policy.Open {
		return
	}
	v.foldJob()
	said := v.entry.Rules.JudgeKey(v.group.Labels())
	v.note(said.Findings, said.Outcome == rules.Rejected)
	v.traceKey(v.group.Labels(), said.Labels, said.Findings)
	if said.Outcome == rules.Rewritten {
		v.group = wire.NewKey(said.Labels...)
		v.changed = true
	}
}

// note keeps findings, and whether the push is refused for them.
func (v *passage) note(found []finding.Finding, refuses bool) {
	for _, f := range found {
		v.findings.Add(f)
		if refuses {
			v.refusals.Add(f)
		}
	}
}

// refused reports whether the rules refuse the push.
func (v *passage) refused() bool { return v.refusals.Len() > 0 }

// reasons are the findings for which a push was refused: those for which the rules
// refuse it, or what else was found.
func (v *passage) reasons() []finding.Finding {
	if v.refused() {
		return v.refusals.All()
	}
	return v.findings.All()
}

// read takes the body in whole, under the caps of the guard, and waits for its turn: who
// sends slowly takes none.
func (v *passage) read(ctx context.Context, caps Caps) error {
	body, err := v.receive(v.largest(caps.Body))
	if err != nil {
		return bodyError{err}
	}
	v.received = body
	if err := v.place.Start(ctx); err != nil {
		return err
	}
	return v.decode(caps)
}

// parse walks the body into tables, unless its shape is known.
func (v *passage) parse(e *epoch, opts wire.Options) error {
	if known, err := v.recall(e, opts); known {
		return err
	}
	enc := wire.Text
	if wire.IsProtobuf(v.request.Header.Get("Content-Type")) {
		enc = wire.Protobuf
	}
	if err := v.weigh(enc, opts.Limits); err != nil {
		return err
	}
	if err := v.push.Parse(v.decoded, enc, v.raw, opts); err != nil {
		return err
	}
	return v.weighs(v.push.Expanded)
}

// noteSharedCounters says that runs which the policy folds into one group
// overwrite one another's counters.
func (v *passage) noteSharedCounters() {
	if v.group.Equal(v.raw) {
		return
	}
	f := finding.Finding{
		ID:  finding.CounterSharedGroup,
		Fix: "parallel runs overwrite this counter for one another: add the runs up before pushing, or push a gauge of the latest run",
	}
	for i := range v.push.Families {
		family := &v.push.Families[i]
		if family.Metrics == 0 || !counts(family) {
			continue
		}
		if f.Count++; f.Count == 1 {
			f.Metric = strings.Clone(family.Name)
		}
	}
	if f.Count > 0 {
		f.Label = v.foldedLabel()
		v.findings.Add(f)
	}
}

// foldedLabel is the first label of the raw key that the group has not, or not so.
func (v *passage) foldedLabel() string {
	for _, l := range v.raw.Labels() {
		if value, ok := v.group.Get(l.Name); !ok || value != l.Value {
			return l.Name
		}
	}
	return ""
}

// counts reports whether a family's samples are totals.
func counts(f *wire.Family) bool {
	switch f.Type {
	case dto.MetricType_COUNTER, dto.MetricType_HISTOGRAM, dto.MetricType_SUMMARY:
		return true
	case dto.MetricType_UNTYPED:
		return strings.HasSuffix(f.Name, "_total") || strings.HasSuffix(f.Name, "_bucket")
	default:
		return false
	}
}

// nameOf is the name of a family in memory that outlives the push: one for all its metrics,
// since a long name that each had for itself would make much of a small push.
func (v *passage) nameOf(family int32) string {
	if len(v.names) == 0 {
		v.names = append(v.names, make([]string, len(v.push.Families))...)
	}
	if v.names[family] == "" {
		v.names[family] = strings.Clone(v.push.Families[family].Name)
	}
	return v.names[family]
}

// enforced reports whether what the rules said is done.
func (v *passage) enforced() bool { return v.entry != nil && v.entry.Mode == policy.Enforce }

// said is what the rules said: what happens in enforce, what would happen in
// report.
func (v *passage) said() Outcome {
	switch {
	case v.refused():
		return Refused
	case v.spared:
		return Skipped
	case v.changed:
		return Changed
	default:
		return Passed
	}
}

// would is what enforcement would have made of a write in report. What the guard refused
// all the same, no mode lets through.
func (v *passage) would(outcome Outcome) Outcome {
	if outcome == Refused {
		return Refused
	}
	return v.said()
}
