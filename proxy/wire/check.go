package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"
)

// The families that a Pushgateway writes for every group itself.
const (
	pushTime        = "push_time_seconds"
	pushFailureTime = "push_failure_time_seconds"
)

// JobFindings is the family that the guard itself adds to the scraped page.
const JobFindings = "pushguard_job_findings"

// Reserved reports whether a family is one that the Pushgateway or the guard
// writes itself. The gateway overwrites a pushed one, but not reliably: a pushed
// failure time with labels of its own can come to stand beside another group's
// and break every scrape.
func Reserved(family string) bool {
	return family == pushTime || family == pushFailureTime || family == JobFindings
}

// checkFamily refuses the families that a Pushgateway accepts and cannot expose.
func (p *Push) checkFamily(f *Family) error {
	switch {
	case f.Name == "":
		return &Error{
			Reason: "metric family without a name",
			Fix:    "give every MetricFamily a name: without one the gateway's page ends there, for every job",
		}
	case f.Type < dto.MetricType_COUNTER || f.Type > dto.MetricType_HISTOGRAM:
		return &Error{
			Reason: fmt.Sprintf("metric %.100q is of type %s, which a Pushgateway cannot expose", f.Name, f.Type),
			Fix:    "push a counter, gauge, summary, untyped or histogram",
		}
	case p.utf8Names && strings.IndexByte(f.Name, 0) >= 0:
		return &Error{
			Reason: fmt.Sprintf("invalid metric name %.100q", f.Name),
			Fix:    "rename the metric: Prometheus cannot read a page with a NUL in a name, and loses the whole scrape",
		}
	case !p.validName(f.Name):
		return &Error{
			Reason: fmt.Sprintf("invalid metric name %.100q", f.Name),
			Fix:    nameFix("metric", "[a-zA-Z_:][a-zA-Z0-9_:]*"),
		}
	}
	return nil
}

// reservedFix mends a label whose name is reserved.
const reservedFix = "names that begin with __ are reserved: rename the label"

// unreadable are the characters that no label's name may have, though they are UTF-8: expfmt,
// and with it every Pushgateway, writes a colon into a page of text as in the name of a
// metric, and Prometheus takes a NUL, in any name, for the end of the page.
const unreadable = ":\x00"

// unreadableFix mends a label whose name has one.
const unreadableFix = "rename the label: Prometheus cannot read a page with a colon or a NUL in the name of a label, and loses the whole scrape"

const labelPattern = "[a-zA-Z_][a-zA-Z0-9_]*"

func nameFix(what, pattern string) string {
	return fmt.Sprintf("name the %s by %s, or run gateway and guard with --push.enable-utf8-names", what, pattern)
}

func (p *Push) validName(name string) bool {
	if p.utf8Names {
		return utf8.ValidString(name)
	}
	return model.LegacyValidation.IsValidMetricName(name)
}

// checkPairs refuses label sets that a Pushgateway takes and cannot expose.
func (w *metricWalk) checkPairs() error {
	// Tags end every value, so that values that are not UTF-8 cannot add up to an
	// identity that is. The other way round a long value's length may look amiss.
	suspect := !utf8.Valid(w.id)
	bound, sorted := boundName(w.family.Type), true
	for i, lp := range w.pairs {
		if sorted = sorted && (i == 0 || bytes.Compare(w.pairs[i-1].name, lp.name) < 0); !sorted && w.repeated(i) {
			return &Error{
				Reason: fmt.Sprintf("duplicate label %.100q in metric %.100q", lp.name, w.family.Name),
				Fix:    "give each label once",
			}
		}
		if err := w.checkPair(lp, bound, suspect); err != nil {
			return err
		}
	}
	return nil
}

func (w *metricWalk) repeated(i int) bool {
	return slices.ContainsFunc(w.pairs[:i], func(lp labelPair) bool { return bytes.Equal(lp.name, w.pairs[i].name) })
}

func (w *metricWalk) checkPair(lp labelPair, bound string, suspect bool) error {
	switch {
	case reserved(lp.name):
		return &Error{
			Reason: fmt.Sprintf("invalid label name %.100q in metric %.100q", lp.name, w.family.Name),
			Fix:    reservedFix,
		}
	case !w.validLabelName(lp.name):
		fix := nameFix("label", labelPattern)
		if bytes.ContainsAny(lp.name, unreadable) {
			fix = unreadableFix
		}
		return &Error{Reason: fmt.Sprintf("invalid label name %.100q in metric %.100q", lp.name, w.family.Name), Fix: fix}
	case suspect && !utf8.Valid(lp.value):
		return &Error{
			Reason: fmt.Sprintf("invalid label value %.100q of label %.100q in metric %.100q: not valid UTF-8", lp.value, lp.name, w.family.Name),
			Fix:    "encode label values as UTF-8",
		}
	case string(lp.name) == bound:
		return &Error{
			Reason: fmt.Sprintf("label %q on %s %.100q, which makes that label itself", lp.name, typeWord(w.family.Type), w.family.Name),
			Fix:    "rename the label: a series with two labels of one name makes Prometheus lose the whole scrape",
		}
	}
	return nil
}

// checkNative refuses native histograms whose spans and buckets do not belong
// together: Prometheus loses the whole scrape over one. It tells which histograms have
// something native.
func checkNative(family string, msg []byte) (native bool, err error) {
	_ = fields(msg, func(f field) error { // read before
		native = native || f.num >= histogramSchema && f.num <= histogramCounts
		return nil
	})
	if !native {
		return false, nil
	}
	h := &dto.Histogram{}
	if err := proto.Unmarshal(msg, h); err != nil {
		return true, errWire
	}
	if !isNative(h) {
		return true, nil
	}
	var unlike *UnmergeableError
	if _, err := nativePart(h); errors.As(err, &unlike) {
		return true, &Error{
			Reason: fmt.Sprintf("metric %.100q: %s", family, unlike.Reason),
			Fix:    "push it as your client library makes it: Prometheus refuses the whole scrape, of every job, over a native histogram that is not consistent",
		}
	}
	return true, nil
}

func typeWord(t dto.MetricType) string {
	if t == dto.MetricType_SUMMARY {
		return "summary"
	}
	return "histogram"
}

func (w *metricWalk) validLabelName(name []byte) bool {
	if !w.utf8Names {
		return plainName(name)
	}
	return len(name) > 0 && utf8.Valid(name) && !bytes.ContainsAny(name, unreadable)
}

// check refuses what only shows against the grouping key, or across the labels
// of one metric.
func (p *Push) check(key Key) error {
	if err := p.checkBounds(key); err != nil {
		return err
	}
	if err := p.checkEmpty(key); err != nil {
		return err
	}
	if !p.utf8Names {
		return nil
	}
	return p.checkEscapes(key)
}

// checkBounds refuses le or quantile in the grouping key of histograms or
// summaries: the group's label would stand beside the bucket's own.
func (p *Push) checkBounds(key Key) error {
	for i := range p.Families {
		f := &p.Families[i]
		name := boundName(f.Type)
		if name == "" || f.Metrics == 0 {
			continue
		}
		if _, ok := key.Get(name); ok {
			return &Error{
				Reason: fmt.Sprintf("label %q in the grouping key of %s %.100q", name, typeWord(f.Type), f.Name),
				Fix:    "rename the label in the path: a series with two labels of one name makes Prometheus lose the whole scrape",
			}
		}
	}
	return nil
}

// checkEmpty refuses two series that differ only by labels with an empty value:
// to Prometheus they are one, and it takes one of them. A label that the grouping
// key overwrites tells no two series apart. Two that are equal as they stand are left
// to the Pushgateway's own check, whose words name them.
func (p *Push) checkEmpty(key Key) error {
	if !p.emptyValues {
		return nil
	}
	type series struct {
		family int32
		labels uint64
	}
	seed, seen := rand.Uint64(), make(map[series]bool, len(p.Metrics())) // whether one had an empty label
	metrics := p.Metrics()
	for i := range metrics {
		ls := slices.DeleteFunc(p.Labels(nil, i), func(l labels.Label) bool { _, overwritten := key.Get(l.Name); return overwritten })
		empty := slices.ContainsFunc(ls, isEmpty)
		k := series{metrics[i].Family, Fingerprint(seed, ls)}
		if other, ok := seen[k]; ok && (other || empty) {
			return &Error{
				Reason: fmt.Sprintf("metric %.100q: two series are equal but for labels with an empty value", p.Families[k.family].Name),
				Fix:    "leave the label out or give it a value: an empty label is no label to Prometheus, which drops one of the two",
			}
		}
		seen[k] = seen[k] || empty
	}
	return nil
}

// escapings are how a scraper may ask for names. Those that dots would make equal are
// equal with underscores, too.
var escapings = [...]model.EscapingScheme{model.UnderscoreEscaping, model.ValueEncodingEscaping}

// checkEscapes refuses label names that break the page of a scraper that asks for escaped
// names: those of a series, and of the group, whose times are on the page, too.
func (p *Push) checkEscapes(key Key) error {
	grouping := key.Labels()
	if err := checkNames(grouping); err != nil {
		return err
	}
	for i := range p.Metrics() {
		if err := checkNames(append(p.Labels(nil, i), grouping...)); err != nil {
			return err
		}
	}
	return nil
}

// checkNames refuses names that are different and become the same.
func checkNames(ls []labels.Label) error {
	if !slices.ContainsFunc(ls, func(l labels.Label) bool { return !model.LegacyValidation.IsValidLabelName(l.Name) }) {
		return nil
	}
	for _, scheme := range escapings {
		seen := map[string]string{}
		for _, l := range ls {
			escaped := model.EscapeName(l.Name, scheme)
			if other, ok := seen[escaped]; ok && other != l.Name {
				return &Error{
					Reason: fmt.Sprintf("labels %.100q and %.100q of one series are both exposed as %.100q", other, l.Name, escaped),
					Fix:    "rename one of them: a series with two labels of one name makes Prometheus lose the whole scrape",
				}
			}
			seen[escaped] = l.Name
		}
	}
	return nil
}
