package event

import (
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"
)

// schemaVersion is that of the records written now. A key is added without a new
// one; a key that changes its meaning makes one.
const schemaVersion = 1

// Kind is what a record tells of. The zero value is none.
type Kind string

// The kinds.
const (
	TaskState Kind = "task_state" // the state of one task in one run
	Snapshot  Kind = "snapshot"   // a metric that the policy takes for an event
	Rejected  Kind = "rejected"   // a push that was refused
	Rewritten Kind = "rewritten"  // label values that a rule took away
	Swept     Kind = "swept"      // a group that the guard deleted
	Budget    Kind = "budget"     // metrics that a budget had no room for
)

const (
	maxText    = 512     // bytes of a text, but for an error's message and a label's value
	maxMessage = 4 << 10 // bytes of those
	maxLabels  = 64      // of a record, each way
)

// ID names a record for good, over all tries to deliver it.
type ID [16]byte

// String is 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText is part of encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText is part of encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return hex.ErrLength
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Record is one event. It is plain data. Text is cut to 512 bytes, an error's
// message and the values of labels to 4 KiB, and labels over 64 are left out, when
// it is added. What may name a person or hold a secret is for the caller to redact.
type Record struct {
	// ID is made by the log where it is zero.
	ID ID `json:"event_id,omitzero"`
	// Time is when it happened; written in UTC.
	Time time.Time `json:"ts,omitzero"`
	Kind Kind      `json:"kind"`
	// SchemaVersion and GuardInstance are set by the log.
	SchemaVersion int    `json:"schema_version,omitzero"`
	GuardInstance string `json:"guard_instance,omitempty"`

	// Job is the job as it is governed, JobRaw as it was sent, and Owner who answers
	// for it by the policy.
	Job    string `json:"job"`
	JobRaw string `json:"job_raw,omitempty"`
	Owner  string `json:"owner,omitempty"`
	// Method and RemoteIP are those of the push, and PushID tells the records of one
	// push from those of others.
	Method   string `json:"method,omitempty"`
	RemoteIP string `json:"remote_ip,omitempty"`
	PushID   string `json:"push_id,omitempty"`
	// Policy is the digest of the policy that decided.
	Policy string `json:"policy,omitempty"`

	// Of a task in a run, from the labels of those names.
	DagID     string `json:"dag_id,omitempty"`
	TaskID    string `json:"task_id,omitempty"`
	RunID     string `json:"run_id,omitempty"`
	MapIndex  string `json:"map_index,omitempty"`
	TryNumber string `json:"try_number,omitempty"`
	AppID     string `json:"app_id,omitempty"`
	Operator  string `json:"operator,omitempty"`
	State     string `json:"state,omitempty"`
	// OpenLineage is State in OpenLineage's vocabulary of run events: START,
	// RUNNING, COMPLETE, ABORT, FAIL or OTHER.
	OpenLineage     string   `json:"ol_event_type,omitempty"`
	ErrorClass      string   `json:"error_class,omitempty"`
	ErrorMessage    string   `json:"error_message,omitempty"`
	DurationSeconds *float64 `json:"duration_seconds,omitempty"`

	// Metric, Type and Value are of the metric that left. Value is nil where it has
	// none of its own, or one that JSON cannot say.
	Metric string   `json:"metric,omitempty"`
	Type   string   `json:"type,omitempty"`
	Value  *float64 `json:"value,omitempty"`
	// Labels are the labels as they were pushed, SeriesLabels those of the series
	// that Prometheus has instead, if it has one: a record joins to it by them.
	Labels       map[string]string `json:"labels,omitempty"`
	SeriesLabels map[string]string `json:"series_labels,omitempty"`

	// Of what was refused, left out or deleted. Reason is the id of the finding, or
	// why the guard deleted a group; Detail says it in words, with the shortest fix.
	Reason       string `json:"reason,omitempty"`
	Detail       string `json:"detail,omitempty"`
	HTTPStatus   int    `json:"http_status,omitempty"`
	Label        string `json:"label,omitempty"`
	ValueSample  string `json:"value_sample,omitempty"`
	Limit        int    `json:"limit,omitempty"`
	Observed     int    `json:"observed,omitempty"`
	SeriesInPush int    `json:"series_in_push,omitempty"`
	BodyBytes    int64  `json:"body_bytes,omitempty"`
	// Group is the grouping key.
	Group string `json:"group,omitempty"`
}

// bound cuts the record to its bounds.
func (r *Record) bound() {
	r.Time = r.Time.UTC()
	for _, s := range []*string{
		&r.GuardInstance, &r.Job, &r.JobRaw, &r.Owner, &r.Method, &r.RemoteIP, &r.PushID, &r.Policy,
		&r.DagID, &r.TaskID, &r.RunID, &r.MapIndex, &r.TryNumber, &r.AppID, &r.Operator, &r.State, &r.OpenLineage,
		&r.ErrorClass, &r.Metric, &r.Type, &r.Reason, &r.Detail, &r.Label, &r.ValueSample, &r.Group,
	} {
		*s = cut(*s, maxText)
	}
	r.ErrorMessage = cut(r.ErrorMessage, maxMessage)
	r.Labels, r.SeriesLabels = boundLabels(r.Labels), boundLabels(r.SeriesLabels)
}

// boundLabels returns the labels within their bounds: the very map where they are.
func boundLabels(ls map[string]string) map[string]string {
	fine := len(ls) <= maxLabels
	for name, value := range ls {
		fine = fine && isShort(name, maxText) && isShort(value, maxMessage)
	}
	if fine {
		return ls
	}
	out := make(map[string]string, min(len(ls), maxLabels))
	for _, name := range sortedKeys(ls) {
		if len(out) == maxLabels {
			break
		}
		out[cut(name, maxText)] = cut(ls[name], maxMessage)
	}
	return out
}

func isShort(s string, most int) bool { return len(s) <= most && utf8.ValidString(s) }

// cut returns valid UTF-8 of at most so many bytes, an ellipsis besides.
func cut(s string, most int) string {
	if isShort(s, most) {
		return s
	}
	if len(s) > most {
		end := most
		for end > most-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// lineage is a state in OpenLineage's words, empty for none.
func lineage(state string) string {
	switch strings.ToLower(state) {
	case "":
		return ""
	case "queued", "scheduled", "start", "started":
		return "START"
	case "running":
		return "RUNNING"
	case "success", "succeeded", "complete", "completed", "finished":
		return "COMPLETE"
	case "failed", "fail", "failure", "upstream_failed", "error":
		return "FAIL"
	case "aborted", "abort", "killed", "cancelled", "canceled", "shutdown", "removed":
		return "ABORT"
	default:
		return "OTHER"
	}
}

// Clone is a copy that shares no memory with the record, and is within its bounds.
func (r Record) Clone() (Record, error) {
	r.bound()
	line, err := r.encode()
	if err != nil {
		return Record{}, err
	}
	var out Record
	err = json.Unmarshal(line, &out)
	return out, err
}

// encode is the record as all sinks have it: one line of JSON without its end.
func (r *Record) encode() ([]byte, error) { return json.Marshal(r) }
