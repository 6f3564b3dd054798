// Package learn drafts a policy from the series that are there: it reads a page of
// metrics, keeps a summary of it, and writes a policy file with the evidence for each
// of its choices in comments.
//
// What is done about a label is what a policy that is known to be good would do about
// it; the rest stays as it is, within budgets that have room to spare.
package learn

import (
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// maxJobs is how many jobs a Summary keeps, and maxNames how many labels and
	// counters of each.
	maxJobs, maxNames = 5000, 200
	// maxDistinct is how many values of a label are told apart; beyond that it only
	// is many. maxAllDistinct is the same of all labels together.
	maxDistinct, maxAllDistinct = 10000, 4 << 20
	maxExamples                 = 3
)

// Summary is what was seen of a page of metrics. Its memory is bounded, whatever it is
// shown. Make one with New. Not safe for concurrent use.
type Summary struct {
	advice   *advice
	jobs     map[string]*job
	distinct int // values that are told apart, of all labels
	newest   time.Time

	groups groups // where pushes are learned from
	pushes int

	series, without, beyond int
}

// New returns an empty Summary that proposes what a policy does: the rules of its
// default entry, and its fold_jobs. The error says what is wrong with the policy.
func New(policy []byte) (*Summary, error) {
	a, err := readAdvice(policy)
	if err != nil {
		return nil, err
	}
	return &Summary{advice: a, jobs: map[string]*job{}}, nil
}

// Pushes is how many pushes were learned from.
func (s *Summary) Pushes() int { return s.pushes }

// Series is how many series of jobs were seen.
func (s *Summary) Series() int { return s.series }

// Jobs is how many jobs there are, the names of runs taken off their names.
func (s *Summary) Jobs() int { return len(s.jobs) }

// Without is how many series were passed over that no job pushed: a
// Pushgateway's and a guard's own.
func (s *Summary) Without() int { return s.without }

// Beyond is how many series were counted, but not learned from, as there are more
// jobs than can be kept.
func (s *Summary) Beyond() int { return s.beyond }

// job is what was seen of a job, its name folded.
type job struct {
	series, groups int
	names          tally // as they were pushed
	folded         bool  // one of them is not its own
	labels         map[string]*label
	counters       tally // names of families
	crowded        bool  // it has more labels than are kept
	oldest, newest time.Time

	minute                 time.Time
	gap                    time.Duration // the longest between two pushes
	inMinute, mostInMinute int           // pushes
}

// label is what was seen of a label of a job.
type label struct {
	values tally // as they were pushed
	left   tally // of them, what the advice leaves
	advice map[reason]*tally
}

// reason is a rule of the advice, and the shape by which it came to a value.
type reason struct {
	rule  int
	shape string
}

// tally counts distinct values and keeps the first few.
type tally struct {
	seen     map[uint64]struct{}
	examples []string // redacted
	many     bool     // there are more than were counted
}

func (s *Summary) tally(t *tally, label, value string) {
	h := xxhash.Sum64String(value)
	if _, ok := t.seen[h]; ok || t.many {
		return
	}
	if len(t.seen) >= maxDistinct || s.distinct >= maxAllDistinct {
		t.many = true
		return
	}
	if t.seen == nil {
		t.seen = map[uint64]struct{}{}
	}
	t.seen[h] = struct{}{}
	s.distinct++
	if len(t.examples) < maxExamples {
		t.examples = append(t.examples, finding.RedactLabel(label, value))
	}
}

// add takes one series into account.
func (s *Summary) add(name string, typ model.MetricType, ls labels.Labels, value float64) {
	pushed := ls.Get(model.JobLabel)
	if pushed == "" || strings.HasPrefix(name, "pushguard_") { // what a guard tells of jobs
		s.without++
		return
	}
	s.series++
	j := s.jobOf(pushed)
	if j == nil {
		s.beyond++
		return
	}
	j.series++
	switch {
	case name == "push_time_seconds":
		j.groups++
		s.pushed(j, value)
	case name != "push_failure_time_seconds":
		s.classify(j, name, typ, ls)
	}
	ls.Range(func(l labels.Label) { s.label(j, l) })
}

// jobOf returns the job that pushes under a name, nil if there are more than are kept.
func (s *Summary) jobOf(pushed string) *job {
	name := s.advice.fold.Fold(model.JobLabel, pushed)
	j := s.jobs[name]
	if j == nil {
		if len(s.jobs) >= maxJobs {
			return nil
		}
		j = &job{labels: map[string]*label{}}
		s.jobs[name] = j
	}
	j.folded = j.folded || pushed != name
	s.tally(&j.names, model.JobLabel, pushed)
	return j
}

// pushed notes the time of a group's last push that was accepted; 0 is none.
func (s *Summary) pushed(j *job, seconds float64) {
	const end = 1 << 40 // further than any clock goes
	if !(seconds > 0 && seconds < end) {
		return
	}
	at := time.Unix(int64(seconds), 0).UTC()
	if j.oldest.IsZero() || at.Before(j.oldest) {
		j.oldest = at
	}
	if at.After(j.newest) {
		j.newest = at
	}
	if at.After(s.newest) {
		s.newest = at
	}
}

// classify notes a counter. Histograms and summaries are what they are: nothing is to
// be told of them.
func (s *Summary) classify(j *job, name string, typ model.MetricType, ls labels.Labels) {
	f := rules.Family{Name: name, Type: dto.MetricType_UNTYPED, Le: ls.Has(model.BucketLabel)}
	switch typ {
	case model.MetricTypeHistogram, model.MetricTypeSummary:
		return
	case model.MetricTypeCounter:
		f.Type = dto.MetricType_COUNTER
	case model.MetricTypeGauge:
		f.Type = dto.MetricType_GAUGE
	}
	if new(rules.Classes).Of(f).Class == rules.ClassCounter {
		s.tally(&j.counters, model.MetricNameLabel, name)
	}
}

// label notes a label but for those that carry the protocol.
func (s *Summary) label(j *job, l labels.Label) {
	switch l.Name {
	case model.MetricNameLabel, model.JobLabel, model.BucketLabel, model.QuantileLabel:
		return
	}
	if l.Name == "" || l.Value == "" { // which is no label to Prometheus
		return
	}
	of := j.label(l.Name)
	if of == nil {
		return
	}
	s.tally(&of.values, l.Name, l.Value)
	rule, shape, left := s.advice.about(l.Name, l.Value)
	if left != "" {
		s.tally(&of.left, l.Name, left)
	}
	if rule < 0 {
		return
	}
	why := reason{rule, shape}
	if of.advice[why] == nil {
		of.advice[why] = &tally{}
	}
	s.tally(of.advice[why], l.Name, l.Value)
}

// label returns nil if there are more than are kept.
func (j *job) label(name string) *label {
	of := j.labels[name]
	if of == nil && len(j.labels) >= maxNames {
		j.crowded = true
	} else if of == nil {
		of = &label{advice: map[reason]*tally{}}
		j.labels[name] = of
	}
	return of
}
