package event

import (
	"context"
	"encoding/json"
	"strconv"
)

// loki sends to Loki's push API. A record is a line of a stream with the labels
// source, kind, job and state, which are bounded; what names a run, a task or an
// owner is structured metadata. An entry that Loki has already, by its stream, time
// and line, it takes once.
type loki struct{ *endpoint }

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
	body, bad, err := encodeLoki(records)
	if err != nil {
		return delivery{}, err
	}
	if len(bad.rejected) < len(records) {
		_, err = l.post(ctx, l.url, "application/json", body)
	}
	return bad, err
}

func encodeLoki(records [][]byte) ([]byte, delivery, error) {
	var push lokiPush
	var bad delivery
	streams := map[lokiLabels]*lokiStream{}
	for i, line := range records {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			bad.rejected, bad.why = append(bad.rejected, i), err
			continue
		}
		labels := lokiLabels{Source: "pushguard", Kind: r.Kind, Job: r.Job, State: r.State}
		s := streams[labels]
		if s == nil {
			s = &lokiStream{Stream: labels}
			streams[labels] = s
			push.Streams = append(push.Streams, s)
		}
		s.Values = append(s.Values, lokiEntry{strconv.FormatInt(r.Time.UnixNano(), 10), string(line), metadata(&r)})
	}
	body, err := json.Marshal(push)
	return body, bad, err
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
