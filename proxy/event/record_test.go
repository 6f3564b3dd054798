package event

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRecordIsBounded(t *testing.T) {
	t.Parallel()
	at := func(n int) string { return strings.Repeat("x", n) }
	for name, tc := range map[string]struct{ in, want string }{
		"under":             {at(511), at(511)},
		"at":                {at(512), at(512)},
		"over":              {at(513), at(512) + "…"},
		"in a character":    {at(511) + "ü", at(511) + "…"},
		"not UTF-8":         {"a\xff", "a\ufffd"},
		"not UTF-8 at once": {"\xff", "\ufffd"},
	} {
		r := Record{RunID: tc.in}
		r.bound()
		if r.RunID != tc.want {
			t.Errorf("%s: %q", name, r.RunID)
		}
	}
	r := Record{ErrorMessage: at(4097), Labels: map[string]string{"a": at(4097)}}
	r.bound()
	if r.ErrorMessage != at(4096)+"…" || r.Labels["a"] != at(4096)+"…" {
		t.Errorf("%d, %d bytes", len(r.ErrorMessage), len(r.Labels["a"]))
	}
}

func TestLabelsOfARecordAreBounded(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{63: 63, 64: 64, 65: 64} {
		r := Record{Labels: map[string]string{}}
		for i := range n {
			r.Labels[strings.Repeat("l", i+1)] = "v"
		}
		r.bound()
		if len(r.Labels) != want {
			t.Errorf("of %d labels %d are left", n, len(r.Labels))
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	a, b := NewID(noon), NewID(noon)
	if a == b {
		t.Error("two records have one id")
	}
	if a[6]>>4 != 7 || a[8]>>6 != 2 {
		t.Errorf("%v is no UUID of version 7", a)
	}
	if later := NewID(noon.Add(1e9)); later.String() <= a.String() {
		t.Errorf("%v is not behind %v", later, a)
	}
	var read ID
	if err := read.UnmarshalText([]byte(a.String())); err != nil || read != a {
		t.Errorf("%v: %v", read, err)
	}
	for _, bad := range []string{"", "00", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("x", 32)} {
		if err := read.UnmarshalText([]byte(bad)); err == nil {
			t.Errorf("%q is an id", bad)
		}
	}
}

// TestKeysOfARecord holds the names of the keys, by which people search.
func TestKeysOfARecord(t *testing.T) {
	t.Parallel()
	value := 1.5
	r := Record{
		ID: id(7), Time: noon, Kind: TaskState, SchemaVersion: 1, GuardInstance: "g", Job: "load", JobRaw: "load_1", Owner: "data",
		Method: "POST", RemoteIP: "10.0.0.1", PushID: "p", Policy: "d", DagID: "d", TaskID: "t", RunID: "r", MapIndex: "0",
		TryNumber: "1", AppID: "a", Operator: "o", State: "failed", OpenLineage: "FAIL", ErrorClass: "E", ErrorMessage: "m",
		DurationSeconds: &value, Metric: "task", Type: "gauge", Value: &value, Labels: map[string]string{"a": "b"},
		SeriesLabels: map[string]string{"c": "d"}, Reason: "ids", Detail: "w", HTTPStatus: 422, Label: "l", ValueSample: "v",
		Limit: 1, Observed: 2, SeriesInPush: 3, BodyBytes: 4, Group: "{}",
	}
	line, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"event_id":"30303030303030303030303030303037","ts":"2026-11-28T12:00:00.123456789Z","kind":"task_state",` +
		`"schema_version":1,"guard_instance":"g","job":"load","job_raw":"load_1","owner":"data","method":"POST","remote_ip":"10.0.0.1",` +
		`"push_id":"p","policy":"d","dag_id":"d","task_id":"t","run_id":"r","map_index":"0","try_number":"1","app_id":"a",` +
		`"operator":"o","state":"failed","ol_event_type":"FAIL","error_class":"E","error_message":"m","duration_seconds":1.5,` +
		`"metric":"task","type":"gauge","value":1.5,"labels":{"a":"b"},"series_labels":{"c":"d"},"reason":"ids","detail":"w",` +
		`"http_status":422,"label":"l","value_sample":"v","limit":1,"observed":2,"series_in_push":3,"body_bytes":4,"group":"{}"}`
	if diff := cmp.Diff(want, string(line)); diff != "" {
		t.Error(diff)
	}
	var back Record
	if err := json.Unmarshal(line, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Error(diff)
	}
}

func TestStatesInOpenLineage(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]string{
		"": "", "running": "RUNNING", "Success": "COMPLETE", "upstream_failed": "FAIL", "queued": "START", "removed": "ABORT", "skipped": "OTHER",
	} {
		if got := lineage(state); got != want {
			t.Errorf("%q is %q", state, got)
		}
	}
}
