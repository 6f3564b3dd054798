package proxy

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules"
	"github.com/pushguard/pushguard/rules/finding"
)

// commitEvents bounds how long an answer waits for the disk to have its records.
const commitEvents = time.Second

// tellEvents sends what a push brought and Prometheus does not get to the event
// log. Whether that takes it is not waited for, only that what is kept on disk is.
func (g *Guard) tellEvents(ctx context.Context, v *passage, e *epoch, a Answer, outcome Outcome) {
	if g.cfg.Events == nil && v.trace == nil {
		return
	}
	records := v.events(e, a, outcome)
	if len(records) == 0 {
		return
	}
	v.traceEvents(records)
	if g.cfg.Events == nil {
		return
	}
	g.cfg.Events.Add(records...)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitEvents)
	defer cancel()
	if err := g.cfg.Events.Commit(ctx); err != nil {
		g.logger.Debug("Events may not survive the end of the process", "err", err)
	}
}

// events are the records of a push, in the order of its body.
func (v *passage) events(e *epoch, a Answer, outcome Outcome) []event.Record {
	w := eventWriter{v: v, base: v.eventBase(e)}
	switch {
	case outcome == Refused:
		w.refused(a)
	case outcome == Failed && a.Status >= 400 && a.Status < 500:
		w.inconsistent(a)
	case v.request.Method == http.MethodDelete || !v.enforced() || a.Status/100 != 2:
	default:
		w.metrics()
		w.rewritten()
		w.overBudget()
	}
	w.name()
	return w.records
}

// eventBase is what all records of the push have in common.
func (v *passage) eventBase(e *epoch) event.Record {
	r := event.Record{
		Time: v.started, Method: v.request.Method, RemoteIP: host(v.request.Client), Policy: e.policy.Digest(),
		Job: v.job, JobRaw: v.raw.Job(), SeriesInPush: v.push.Expanded, BodyBytes: int64(len(v.decoded)),
	}
	if v.entry != nil {
		r.Owner, r.Group = v.entry.Owner, v.group.String()
	}
	return r
}

// eventWriter makes the records of one push.
type eventWriter struct {
	v        *passage
	base     event.Record
	records  []event.Record
	told     []string // rules of which the metrics tell
	readings wire.Readings
	read     bool
	added    map[int32]*counter.Series // by metric; nil until it is asked for
}

// name gives the records their ids: those of the push where it has a key of its own, so
// that a push that is sent again tells the same. One that was refused before, or that
// brings something else under that key, tells something else.
func (w *eventWriter) name() {
	if len(w.records) == 0 {
		return
	}
	push := event.NewID(w.v.started)
	if key := w.v.request.Header.Get("Idempotency-Key"); key != "" {
		h := sha256.New()
		_, _ = fmt.Fprintf(h, "%s\xff%s\xff%s\xff", w.v.raw.ID(), key, w.v.request.Method) // never fails
		_, _ = h.Write(w.v.decoded)
		push = event.ID(h.Sum(nil)[:16])
	}
	for i := range w.records {
		w.records[i].PushID = push.String()
		salted := binary.BigEndian.AppendUint64(push[:len(push):len(push)], uint64(i))
		sum := sha256.Sum256(append(salted, w.records[i].Kind...))
		copy(w.records[i].ID[:6], push[:6]) // in the order of time
		copy(w.records[i].ID[6:], sum[:])
	}
}

func (w *eventWriter) add(kind event.Kind, fill func(*event.Record)) {
	r := w.base
	r.Kind = kind
	fill(&r)
	w.records = append(w.records, r)
}

// refused tells for what the guard refused the push: each reason of its own.
func (w *eventWriter) refused(a Answer) {
	for _, f := range w.v.reasons() {
		w.add(event.Rejected, func(r *event.Record) {
			r.HTTPStatus = a.Status
			finds(r, f)
		})
	}
}

// inconsistent tells of a push that the upstream refused.
func (w *eventWriter) inconsistent(a Answer) {
	w.add(event.Rejected, func(r *event.Record) {
		first, _, _ := strings.Cut(string(a.Body), "\n")
		r.HTTPStatus, r.Reason, r.Detail = a.Status, "inconsistent", first
	})
}

// finds fills in what was noticed.
func finds(r *event.Record, f finding.Finding) {
	r.Reason, r.Detail, r.Metric, r.Label = f.ID, f.Fix, f.Metric, f.Label
	r.ValueSample, r.Observed, r.Limit = f.Sample, f.Count, f.Limit
}

// metrics tells of those that the policy takes for events, and of those that lost
// a label to one.
func (w *eventWriter) metrics() {
	v := w.v
	var scratch []labels.Label
	for i, m := range v.push.Metrics() {
		var said *verdict // none says anything of a plain push
		if !v.plain {
			said = v.verdicts[i]
		}
		if !v.isEvent(i) && (said == nil || len(said.events) == 0) || v.superseded(m.Family) {
			continue
		}
		if said != nil {
			for _, id := range said.events {
				if !slices.Contains(w.told, id) {
					w.told = append(w.told, id)
				}
			}
		}
		scratch = v.push.Labels(scratch[:0], i)
		w.metric(i, scratch)
	}
}

// isEvent reports whether the metric's whole family leaves.
func (v *passage) isEvent(metric int) bool {
	family := int(v.push.Metrics()[metric].Family)
	return family < len(v.counts.classes) && v.counts.classes[family].Class == rules.ClassEvent
}

func (w *eventWriter) metric(i int, pushed []labels.Label) {
	v := w.v
	if !w.read {
		w.read = true
		w.readings.Read(&v.push, func(int) bool { return true })
	}
	all := map[string]string{}
	for _, ls := range [][]labels.Label{pushed, v.raw.Labels()} { // the key's own win
		for _, l := range ls {
			all[l.Name] = l.Value
		}
	}
	family := &v.push.Families[v.push.Metrics()[i].Family]
	value, none := w.value(i, family.Type)
	kind := kindOfEvent(all)
	if kind == event.TaskState && none && !strings.Contains(family.Name, "duration") {
		return // one of the states that the task is not in
	}
	if kind == event.Snapshot && !v.isEvent(i) {
		kind = event.Rewritten
	}
	w.add(kind, func(r *event.Record) {
		r.Metric, r.Type, r.Value = family.Name, strings.ToLower(family.Type.String()), finite(value)
		r.Reason = reasonOfEvent(v, i)
		tasks(r, all, value)
		r.Labels = scrubbed(all)
		if fate := v.fates[i]; fate.Act != wire.LeaveOut && !v.isEvent(i) {
			r.SeriesLabels = joined(fate.Labels, v.group.Labels())
		} else if to := w.addedTo(i); to != nil {
			r.SeriesLabels = joined(to.Labels, nil)
		}
	})
}

// addedTo is the series that what a metric counted was added to; nil if there is none.
func (w *eventWriter) addedTo(metric int) *counter.Series {
	n := &w.v.counts
	if w.added == nil {
		w.added = make(map[int32]*counter.Series, len(n.readings))
		for i := range n.readings {
			w.added[n.metrics[i]] = n.readings[i].Output
		}
	}
	return w.added[int32(metric)]
}

// value is the one number of a metric, of a histogram or a summary its sum, and whether
// the metric says that there is nothing.
func (w *eventWriter) value(i int, t dto.MetricType) (value float64, none bool) {
	r := &w.readings.All[i]
	if t == dto.MetricType_HISTOGRAM || t == dto.MetricType_SUMMARY {
		return r.Sum, r.Count == 0
	}
	return r.Value, r.Value == 0
}

// reasonOfEvent is the rule that took a label, or that the family leaves.
func reasonOfEvent(v *passage, i int) string {
	if v.isEvent(i) {
		return finding.EventFamily
	}
	return v.verdicts[i].events[0]
}

// kindOfEvent tells the state of a task from any other fact.
func kindOfEvent(ls map[string]string) event.Kind {
	_, isTask := ls["task_id"]
	if !isTask {
		_, isTask = ls["task"]
	}
	if isTask && stateOf(ls) != "" {
		return event.TaskState
	}
	return event.Snapshot
}

func stateOf(ls map[string]string) string {
	if s := ls["state"]; s != "" {
		return s
	}
	return ls["status"]
}

// tasks fills in what is known of a task in a run by the names of its labels.
func tasks(r *event.Record, ls map[string]string, value float64) {
	for _, f := range []struct {
		field *string
		names []string
	}{
		{&r.DagID, []string{"dag_id", "dag"}},
		{&r.TaskID, []string{"task_id", "task"}},
		{&r.RunID, []string{"run_id"}},
		{&r.MapIndex, []string{"map_index"}},
		{&r.TryNumber, []string{"try_number"}},
		{&r.AppID, []string{"app_id", "application_id"}},
		{&r.Operator, []string{"operator"}},
		{&r.ErrorClass, []string{"error_class", "exception_class", "error_type"}},
		{&r.ErrorMessage, []string{"error_message", "error", "exception"}},
	} {
		for _, name := range f.names {
			if *f.field == "" {
				*f.field = ls[name]
			}
		}
	}
	r.State = stateOf(ls)
	r.ErrorMessage = finding.Scrub(r.ErrorMessage)
	if strings.HasSuffix(r.Metric, "_duration_seconds") {
		r.DurationSeconds = finite(value)
	}
}

// identifying are labels by which people look for a task or a run: their values
// stay as they are.
var identifying = map[string]bool{
	"job": true, "instance": true, "dag_id": true, "dag": true, "task_id": true, "task": true, "run_id": true, "map_index": true,
	"try_number": true, "app_id": true, "application_id": true, "state": true, "status": true, "operator": true,
}

// scrubbed are labels without what may harm someone.
func scrubbed(ls map[string]string) map[string]string {
	for name, value := range ls {
		if !identifying[name] {
			ls[name] = finding.ScrubLabel(name, value)
		}
	}
	return ls
}

func joined(metric, group []labels.Label) map[string]string {
	out := make(map[string]string, len(metric)+len(group))
	for _, ls := range [][]labels.Label{metric, group} {
		for _, l := range ls {
			out[l.Name] = l.Value
		}
	}
	return out
}

// finite is nil for what JSON cannot say.
func finite(v float64) *float64 {
	if v-v != 0 {
		return nil
	}
	return &v
}

// rewritten tells of label values that a rule took away or changed, those left out
// that metrics tell of themselves.
func (w *eventWriter) rewritten() {
	for _, f := range w.v.findings.All() {
		if f.Label == "" || f.Sample == "" || slices.Contains(w.told, f.ID) || finding.IsOwn(f.ID) && f.ID != finding.Allowlist && f.ID != finding.Relabel && f.ID != finding.FoldedJob {
			continue
		}
		w.add(event.Rewritten, func(r *event.Record) {
			finds(r, f)
			r.SeriesLabels = joined(nil, w.v.group.Labels())
		})
	}
}

// budgets are the findings about what had no room.
var budgets = map[string]bool{
	finding.SeriesBudget: true, finding.EntryBudget: true, finding.GuardBudget: true, finding.LabelValuesBudget: true,
	finding.NewSeriesPerHour: true, finding.NewSeriesPerDay: true, finding.GroupsBudget: true, finding.GuardGroups: true,
	finding.Collapsed: true, finding.Evicted: true,
}

func (w *eventWriter) overBudget() {
	for _, f := range w.v.findings.All() {
		if budgets[f.ID] {
			w.add(event.Budget, func(r *event.Record) { finds(r, f) })
		}
	}
}

// tellRemoval sends the end of a group to the event log.
func (g *Guard) tellRemoval(e *epoch, r removal) {
	if g.cfg.Events == nil || r.done != groupDeleted {
		return
	}
	record := event.Record{
		Time: r.started, Kind: event.Swept, Job: r.Job, JobRaw: r.Key.Job(), Owner: e.policy.Entry(r.Job).Owner,
		Method: http.MethodDelete, Policy: e.policy.Digest(), Group: r.Key.String(), Reason: string(r.why),
	}
	all := joined(nil, r.Key.Labels())
	tasks(&record, all, 0)
	record.Labels = scrubbed(all)
	g.cfg.Events.Add(record)
}
