package record

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// maxReadable is how many different values of one label of a job stay readable,
	// and readableSize how long they may be. maxLabels is of how many labels that is
	// known; values of others do not stay.
	maxReadable  = 20
	readableSize = 40
	maxLabels    = 10_000
	// maxMasked is how many masked values are remembered.
	maxMasked = 20_000
)

// redactor takes out of pushes what they should not show. Not safe for concurrent use.
type redactor struct {
	mask   rules.Mask
	secret []byte
	seen   map[ofJob]map[string]bool // the values that stay readable
	masked *lru.Cache[valueOf, string]
}

// ofJob is a label of a job.
type ofJob struct{ job, label string }

type valueOf struct {
	ofJob
	value string
}

func newRedactor(secret [32]byte) *redactor {
	masked, _ := lru.New[valueOf, string](maxMasked) // fails for a size below 1 only
	return &redactor{mask: rules.NewMask(secret), secret: secret[:], seen: map[ofJob]map[string]bool{}, masked: masked}
}

// entry is the push as it is kept.
func (r *redactor) entry(p *Push) *Entry {
	job := p.Key.Job()
	came := &values{shown: map[labels.Label]string{}}
	shown := func(label, value string) string {
		masked := r.value(job, label, value)
		came.add(label, value, masked)
		return masked
	}
	key := redacted(p.Key, shown)
	out := &Entry{Time: p.Time.UTC(), Request: Request{Method: p.Method, Target: key.Path()}, Happened: &p.Happened}
	out.Happened.Job = key.Job()
	if p.Method == http.MethodDelete {
		return out
	}
	out.Request.Headers = append(out.Request.Headers, [2]string{"Content-Type", plainType(p.ContentType)})
	if p.IdempotencyKey != "" {
		out.Request.Headers = append(out.Request.Headers, [2]string{"Idempotency-Key", r.hash(p.IdempotencyKey)})
	}
	families, err := gateway.ReadFamilies(p.Body, p.ContentType)
	if err != nil || p.Unread {
		out.Unread = true
		out.Happened.AsPushed = false
		return out
	}
	r.families(job, families, shown)
	inOrder(families, p.Families)
	out.Request.Body = render(families, p.ContentType)
	out.Happened.Series = r.series(job, p, came)
	return out
}

// series are those that went on, with their values as those of the push.
func (r *redactor) series(job string, p *Push, came *values) []model.Metric {
	var out []model.Metric
	shown := func(label, value string) string { return r.cut(job, came, label, value) }
	body := p.Sent
	if body == nil && p.SentKey.Job() != "" {
		body = p.Body
	}
	if body != nil {
		sent := gateway.Families(body, p.ContentType)
		r.families(job, sent, shown)
		out = seriesOf(sent, redacted(p.SentKey, shown))
	}
	for _, s := range p.Added {
		added := *s
		added.Labels = make([]labels.Label, len(s.Labels))
		for i, l := range s.Labels {
			added.Labels[i] = labels.Label{Name: l.Name, Value: shown(l.Name, l.Value)}
		}
		out = append(out, Added(&added)...)
	}
	return out
}

// values are those that a push came with, and what stands for them.
type values struct {
	shown  map[labels.Label]string
	hidden []labels.Label // those for which something else stands
	looked int            // hidden values that were looked at for a cut
}

func (v *values) add(label, value, shown string) {
	l := labels.Label{Name: label, Value: value}
	if _, ok := v.shown[l]; ok {
		return
	}
	v.shown[l] = shown
	if shown != value {
		v.hidden = append(v.hidden, l)
	}
}

const (
	// minCut is how long a value is at least that is taken for a part of another
	// label's: what is shorter stands in many by chance.
	minCut = 4
	// maxLooked is how many hidden values of a push are looked at.
	maxLooked = 1 << 20
)

// cut is what stands for a value that a policy has cut out of a hidden one, such as
// what truncate leaves of it: the same part of what stands for that, as the policy
// would cut it out again.
func (r *redactor) cut(job string, came *values, label, value string) string {
	if shown, ok := came.shown[labels.Label{Name: label, Value: value}]; ok {
		return shown
	}
	if shown, ok := r.masked.Get(valueOf{ofJob{job, label}, value}); ok { // a normal form, too
		return shown
	}
	for _, own := range []bool{true, false} {
		for _, h := range came.hidden {
			if came.looked++; came.looked > maxLooked {
				return r.mask.Whole(label, value)
			}
			at := strings.Index(h.Value, value)
			if at < 0 || own != (h.Name == label) || !(own && at == 0) && len(value) < minCut {
				continue
			}
			if whole := came.shown[h]; len(whole) == len(h.Value) {
				return whole[at : at+len(value)]
			}
			return r.mask.Whole(label, value)
		}
	}
	return r.value(job, label, value)
}

// plainType is a content type without what a client may have put into it.
func plainType(contentType string) string {
	if wire.IsProtobuf(contentType) {
		return wire.ProtobufType
	}
	return string(expfmt.NewFormat(expfmt.TypeTextPlain))
}

// redacted is a key with its values as they are shown.
func redacted(key wire.Key, shown func(label, value string) string) wire.Key {
	var out []labels.Label
	for _, l := range key.Labels() {
		out = append(out, labels.Label{Name: l.Name, Value: shown(l.Name, l.Value)})
	}
	return wire.NewKey(out...)
}

// value is a value of a label of a job, as it is shown.
func (r *redactor) value(job, label, value string) string {
	if value == "" || label == model.BucketLabel || label == model.QuantileLabel {
		return value
	}
	of := valueOf{ofJob{job, label}, value}
	if masked, ok := r.masked.Get(of); ok {
		return masked
	}
	masked, _ := r.mask.Value(label, value, func(plain string) string {
		if r.readable(of.ofJob, plain) {
			return plain
		}
		return r.mask.Whole(label, plain)
	})
	of.job, of.label, of.value = strings.Clone(of.job), strings.Clone(of.label), strings.Clone(of.value)
	r.masked.Add(of, masked)
	r.normal(of, masked)
	return masked
}

// normal remembers what a rule that folds the value by its shape makes of the masked
// one, so that what went on is told as what a replay will make of it.
func (r *redactor) normal(of valueOf, masked string) {
	_, was, ok := rules.Shape(of.label, of.value)
	_, is, still := rules.Shape(of.label, masked)
	if of.value = was; ok && still && !r.masked.Contains(of) {
		r.masked.Add(of, is)
	}
}

// readable reports whether a value without a shape stays: the label has few, it is
// short, and it looks like no secret. Names of jobs stay, whose entry is found by them.
func (r *redactor) readable(of ofJob, value string) bool {
	if of.label == model.JobLabel {
		return true
	}
	if len(value) > readableSize || finding.RedactLabel(of.label, value) != value {
		return false
	}
	seen := r.seen[of]
	if seen[value] {
		return true
	}
	if len(seen) >= maxReadable || seen == nil && len(r.seen) >= maxLabels {
		return false
	}
	if seen == nil {
		seen = map[string]bool{}
		r.seen[ofJob{strings.Clone(of.job), strings.Clone(of.label)}] = seen
	}
	seen[strings.Clone(value)] = true
	return true
}

func (r *redactor) hash(s string) string {
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// families redacts the families of a body, values of labels by shown.
func (r *redactor) families(job string, families []*dto.MetricFamily, shown func(label, value string) string) {
	for _, f := range families {
		if f.Help != nil {
			f.Help = proto.String(finding.Redact(f.GetHelp()))
		}
		scale := r.scale(job, f)
		for _, m := range f.Metric {
			for _, l := range m.Label {
				l.Value = proto.String(shown(l.GetName(), l.GetValue()))
			}
			scale.metric(m)
		}
	}
}

// inOrder sorts families as they came, which their decoder forgets: of what is new to a
// budget the first has the room. Those that are not named are sorted by their names.
func inOrder(families []*dto.MetricFamily, names []string) {
	place := make(map[string]int, len(names))
	for i, name := range names {
		place[name] = i - len(names)
	}
	slices.SortStableFunc(families, func(a, b *dto.MetricFamily) int {
		return cmp.Or(cmp.Compare(place[a.GetName()], place[b.GetName()]), cmp.Compare(a.GetName(), b.GetName()))
	})
}

// scale is what the values of a family are multiplied by.
type scale struct {
	by uint64 // 1 leaves them
	// ones says that 1 stays 1: it is a yes, or the value of an info metric.
	ones bool
}

// scale is a secret factor for each metric of a job, so that nobody reads how much it
// was, but what grew grows, what was equal is, and what was whole stays whole. Times
// stay: counters are told apart by them.
func (r *redactor) scale(job string, f *dto.MetricFamily) scale {
	name := f.GetName()
	if strings.HasSuffix(name, "_created") || strings.HasSuffix(name, "_time_seconds") || strings.Contains(name, "timestamp") {
		return scale{by: 1}
	}
	base := name
	for _, suffix := range []string{"_bucket", "_count", "_sum", "_total"} {
		base = strings.TrimSuffix(base, suffix)
	}
	h := hmac.New(sha256.New, r.secret)
	h.Write([]byte(job + "\xff" + base))
	snapshot := f.GetType() == dto.MetricType_GAUGE || f.GetType() == dto.MetricType_UNTYPED && base == name
	return scale{2 + uint64(h.Sum(nil)[0]), snapshot}
}

func (s scale) value(v *float64) {
	if v == nil || s.ones && *v == 1 {
		return
	}
	if to := *v * float64(s.by); !math.IsInf(to, 0) {
		*v = to
	}
}

func (s scale) whole(v *uint64) {
	if v != nil && *v <= math.MaxUint64/s.by {
		*v *= s.by
	}
}

func (s scale) metric(m *dto.Metric) {
	if m.Gauge != nil {
		s.value(m.Gauge.Value)
	}
	if m.Counter != nil {
		s.value(m.Counter.Value)
		m.Counter.Exemplar = nil
	}
	if m.Untyped != nil {
		s.value(m.Untyped.Value)
	}
	if m.Summary != nil {
		s.whole(m.Summary.SampleCount)
		s.value(m.Summary.SampleSum)
		for _, q := range m.Summary.Quantile {
			s.value(q.Value)
		}
	}
	if m.Histogram != nil {
		s.histogram(m.Histogram)
	}
}

func (s scale) histogram(h *dto.Histogram) {
	s.whole(h.SampleCount)
	s.value(h.SampleCountFloat)
	s.value(h.SampleSum)
	s.whole(h.ZeroCount)
	s.value(h.ZeroCountFloat)
	for _, b := range h.Bucket {
		s.whole(b.CumulativeCount)
		s.value(b.CumulativeCountFloat)
		b.Exemplar = nil
	}
	for _, deltas := range [][]int64{h.PositiveDelta, h.NegativeDelta} {
		for i := range deltas {
			deltas[i] *= int64(s.by)
		}
	}
	for _, counts := range [][]float64{h.PositiveCount, h.NegativeCount} {
		for i := range counts {
			s.value(&counts[i])
		}
	}
	h.Exemplars = nil
}

// render is a body of the families, in the encoding of the content type.
func render(families []*dto.MetricFamily, contentType string) []byte {
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	if wire.IsProtobuf(contentType) {
		format = expfmt.NewFormat(expfmt.TypeProtoDelim)
	}
	var out bytes.Buffer
	to := expfmt.NewEncoder(&out, format.WithEscapingScheme(model.NoEscaping))
	for _, f := range families {
		_ = to.Encode(f) // fails for a family without metrics, which has nothing to say
	}
	return out.Bytes()
}
