package store

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/version"
)

// listedFamily is a family as /api/v1/metrics has it.
type listedFamily struct {
	Time    time.Time `json:"time_stamp"`
	Type    string    `json:"type"`
	Help    string    `json:"help,omitempty"`
	Metrics []any     `json:"metrics"`
}

// serveListing writes the groups, one at a time.
func (s *Store) serveListing(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := bufio.NewWriterSize(w, pageBuffer)
	_, _ = out.WriteString(`{"status":"success","data":[`)
	for i, g := range s.pinGroups() {
		if r.Context().Err() != nil {
			panic(http.ErrAbortHandler)
		}
		if i > 0 {
			_ = out.WriteByte(',')
		}
		b, err := s.listed(g)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_, _ = out.Write(b)
	}
	_, _ = out.WriteString("]}")
	if out.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// listed is a group as JSON, made for one reader at a time: what that is made of weighs far
// more than what is stored.
func (s *Store) listed(g pinned) ([]byte, error) {
	s.making.Lock()
	defer s.making.Unlock()
	return json.Marshal(g.object())
}

// object is a group as it is listed.
func (p pinned) object() map[string]any {
	labels := map[string]string{}
	for _, l := range p.key.Labels() {
		labels[l.Name] = l.Value
	}
	out := map[string]any{}
	for _, f := range p.families {
		out[f.shape.Name] = listedFamily{
			Time: time.Unix(0, f.pushed).UTC(), Type: f.shape.Type.String(), Help: f.shape.help, Metrics: listedMetrics(f.shape.Type, f.metrics(p.group)),
		}
	}
	own := func(name, help string, at int64) {
		m := &dto.Metric{Gauge: &dto.Gauge{Value: new(float64(at) / 1e9)}}
		m.Label = groupPairs(p.key, m)
		out[name] = listedFamily{
			Time: time.Unix(0, max(p.pushed, p.failed)).UTC(), Type: "GAUGE", Help: help, Metrics: listedMetrics(dto.MetricType_GAUGE, []*dto.Metric{m}),
		}
	}
	own(pushTime, pushTimeHelp, p.pushed)
	own(pushFailure, pushFailureHelp, p.failed)
	out["labels"], out["last_push_successful"] = labels, p.pushed > p.failed
	return out
}

func listedMetrics(typ dto.MetricType, metrics []*dto.Metric) []any {
	out := make([]any, 0, len(metrics))
	for _, m := range metrics {
		labels := map[string]string{}
		for _, l := range m.Label {
			labels[l.GetName()] = l.GetValue()
		}
		listed := map[string]any{"labels": labels}
		switch typ {
		case dto.MetricType_SUMMARY:
			quantiles := map[string]string{}
			for _, q := range m.GetSummary().GetQuantile() {
				quantiles[fmt.Sprint(q.GetQuantile())] = fmt.Sprint(q.GetValue())
			}
			listed["quantiles"], listed["count"], listed["sum"] = quantiles, fmt.Sprint(m.GetSummary().GetSampleCount()), fmt.Sprint(m.GetSummary().GetSampleSum())
		case dto.MetricType_HISTOGRAM:
			h := m.GetHistogram()
			listed["buckets"], listed["sum"] = listedBuckets(h), fmt.Sprint(h.GetSampleSum())
			listed["count"] = fmt.Sprint(h.GetSampleCount())
			if f := h.GetSampleCountFloat(); f > 0 {
				listed["count"] = fmt.Sprint(f)
			}
		case dto.MetricType_COUNTER:
			listed["value"] = fmt.Sprint(m.GetCounter().GetValue())
		case dto.MetricType_GAUGE:
			listed["value"] = fmt.Sprint(m.GetGauge().GetValue())
		default:
			listed["value"] = fmt.Sprint(m.GetUntyped().GetValue())
		}
		out = append(out, listed)
	}
	return out
}

func listedBuckets(h *dto.Histogram) any {
	if hasSpans(h) {
		return nativeBuckets(h)
	}
	buckets := map[string]string{}
	for _, b := range h.GetBucket() {
		buckets[fmt.Sprint(b.GetUpperBound())] = fmt.Sprint(b.GetCumulativeCount())
		if f := b.GetCumulativeCountFloat(); f > 0 {
			buckets[fmt.Sprint(b.GetUpperBound())] = fmt.Sprint(f)
		}
	}
	return buckets
}

// serveStatus tells of the process what a Pushgateway does.
func (s *Store) serveStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	flags := s.cfg.Flags
	if flags == nil {
		flags = map[string]string{}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"status": "success",
		"data": map[string]any{
			"flags": flags, "start_time": s.started.UTC(),
			"build_information": map[string]string{
				"version": version.Version, "revision": version.Revision, "branch": version.Branch,
				"buildUser": version.BuildUser, "buildDate": version.BuildDate, "goVersion": version.GoVersion,
			},
		},
	})
}
