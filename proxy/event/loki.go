package event

import (
	"context"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"
)

// loki sends to Loki's push API. A record is a line of a stream with the labels
// source, kind, job and state; what names a run, a task or an owner is structured
// metadata. So is a job or a state beyond as many as may be labels, since whoever pushes
// can make up any number of them, and Loki takes no more of anybody once it has too many
// streams. An entry that Loki has already, by its stream, time and line, it takes once.
type loki struct {
	*endpoint
	jobs, states *few
}

const (
	fewJobs   = 1000 // that are labels
	fewStates = 100  // likewise, besides those that OpenLineage has a word for
	fewUnused = time.Hour
)

func newLoki(e *endpoint) loki {
	e.url = e.url.JoinPath("loki/api/v1/push")
	return loki{e, &few{most: fewJobs}, &few{most: fewStates}}
}

// few are values of which there are not too many. One that nobody uses for a while makes
// room for another.
type few struct {
	most int
	used map[string]time.Time
	full time.Time // when it was last looked for such
}

// has reports whether the value is one of them, or can be.
func (f *few) has(value string, now time.Time) bool {
	if _, is := f.used[value]; !is && len(f.used) >= f.most {
		if now.Sub(f.full) < time.Minute {
			return false
		}
		f.full = now
		maps.DeleteFunc(f.used, func(_ string, at time.Time) bool { return now.Sub(at) >= fewUnused })
		if len(f.used) >= f.most {
			return false
		}
	}
	if f.used == nil {
		f.used = map[string]time.Time{}
	}
	f.used[value] = now
	return true
}

type (
	lokiPush struct {
		Streams []*lokiStream `json:"streams"`
	}
	lokiStream struct {
		Stream lokiLabels  `json:"stream"`
		Values []lokiEntry `json:"values"`
	}
	lokiLabels struct {
		Source string `json:"source"`
		Kind   Kind   `json:"kind"`
		Job    string `json:"job,omitempty"`
		State  string `json:"state,omitempty"`
	}
	// lokiEntry is a time in nanoseconds, a line, and metadata.
	lokiEntry [3]any
)

func (l loki) close() error { return nil }

// send implements sink. Of a batch with bad entries Loki takes the good ones and
// answers 400; they are sent again in halves, and taken once.
func (l loki) send(ctx context.Context, records [][]byte) (delivery, error) {
	body, bad, err := l.encode(records, time.Now())
	if err != nil {
		return delivery{}, err
	}
	if len(bad.rejected) < len(records) {
		_, err = l.post(ctx, l.url, "application/json", body)
	}
	return bad, err
}

func (l loki) encode(records [][]byte, now time.Time) ([]byte, delivery, error) {
	var push lokiPush
	var bad delivery
	streams := map[lokiLabels]*lokiStream{}
	for i, line := range records {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			bad.rejected, bad.why = append(bad.rejected, i), err
			continue
		}
		labels, more := l.labels(&r, now)
		s := streams[labels]
		if s == nil {
			s = &lokiStream{Stream: labels}
			streams[labels] = s
			push.Streams = append(push.Streams, s)
		}
		s.Values = append(s.Values, lokiEntry{strconv.FormatInt(r.Time.UnixNano(), 10), string(line), more})
	}
	body, err := json.Marshal(push)
	return body, bad, err
}

// labels are those of the record's stream, and what is metadata.
func (l loki) labels(r *Record, now time.Time) (lokiLabels, map[string]string) {
	labels, more := lokiLabels{Source: "pushguard", Kind: r.Kind, Job: r.Job, State: r.State}, metadata(r)
	if !l.jobs.has(r.Job, now) {
		labels.Job, more["job"] = "", r.Job
	}
	isUsual := r.OpenLineage != "OTHER" && r.State == strings.ToLower(r.State)
	if !isUsual && !l.states.has(r.State, now) {
		labels.State, more["state"] = "", r.State
	}
	return labels, more
}

// metadata is what people look for, as Loki's structured metadata and as
// attributes of OpenTelemetry.
func metadata(r *Record) map[string]string {
	out := map[string]string{"event_id": r.ID.String()}
	for name, value := range map[string]string{
		"owner": r.Owner, "dag_id": r.DagID, "task_id": r.TaskID, "run_id": r.RunID, "map_index": r.MapIndex,
		"try_number": r.TryNumber, "app_id": r.AppID, "error_class": r.ErrorClass, "metric": r.Metric,
		"reason": r.Reason, "push_id": r.PushID, "ol_event_type": r.OpenLineage,
	} {
		if value != "" {
			out[name] = value
		}
	}
	return out
}
