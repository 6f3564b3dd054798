package event

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// received is a request as a fake got it.
type received struct {
	path, query, contentType string
	header                   http.Header
	body                     string
}

// fake is an event log that answers as it is told, and keeps what it gets.
type fake struct {
	t      testing.TB
	url    string
	answer func(r received) (status int, header map[string]string, body string)

	mu  sync.Mutex
	got []received
}

func newFake(t testing.TB, answer func(r received) (int, map[string]string, string)) *fake {
	f := &fake{t: t, answer: answer}
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	f.url = s.URL
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.Header.Get("Content-Encoding") != "gzip" {
		f.t.Errorf("%s, encoded by %q", r.Method, r.Header.Get("Content-Encoding"))
	}
	z, err := gzip.NewReader(r.Body)
	if err != nil {
		f.t.Error(err)
		return
	}
	body, err := io.ReadAll(z)
	if err != nil {
		f.t.Error(err)
	}
	got := received{r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header, string(body)}
	f.mu.Lock()
	f.got = append(f.got, got)
	f.mu.Unlock()
	status, header, answer := f.answer(got)
	for name, value := range header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, answer)
}

func (f *fake) requests() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.got
}

func always(status int, body string) func(received) (int, map[string]string, string) {
	return func(received) (int, map[string]string, string) { return status, nil, body }
}

// opened is the sink of a target at the fake.
func opened(t testing.TB, target Target) sink {
	t.Helper()
	s, err := target.open(io.Discard, "guard-1", within)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// encoded are n records of a task.
func encoded(t testing.TB, n int) [][]byte {
	t.Helper()
	var out [][]byte
	for i := range n {
		r := Record{
			ID: id(i), Time: noon.Add(time.Duration(i)), Kind: TaskState, SchemaVersion: 1, Job: "load",
			DagID: "d", RunID: "r", State: "failed", OpenLineage: "FAIL",
		}
		line, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	return out
}

const encoded0 = `{"event_id":"30303030303030303030303030303030","ts":"2026-11-28T12:00:00.123456789Z","kind":"task_state","schema_version":1,"job":"load","dag_id":"d","run_id":"r","state":"failed","ol_event_type":"FAIL"}`

func TestLoki(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusNoContent, ""))
	s := opened(t, Target{URL: "loki+" + f.url, Tenant: "batch", Headers: map[string]string{"X-Team": "data"}})
	records := encoded(t, 2)
	other, _ := (&Record{ID: id(9), Time: noon, Kind: Rejected, Job: "load", Owner: "data", Reason: "ids"}).encode()
	if d, err := s.send(t.Context(), append(records, other)); err != nil || len(d.again)+len(d.rejected) > 0 {
		t.Fatal(d, err)
	}
	got := f.requests()[0]
	if got.path != "/loki/api/v1/push" || got.contentType != "application/json" ||
		got.header.Get("X-Scope-OrgID") != "batch" || got.header.Get("X-Team") != "data" {
		t.Errorf("%+v", got)
	}
	entry := func(ns string, line []byte, metadata string) string {
		quoted, _ := json.Marshal(string(line))
		return `["` + ns + `",` + string(quoted) + `,` + metadata + `]`
	}
	task := func(i int) string {
		return entry(strconv.FormatInt(noon.UnixNano()+int64(i), 10), records[i],
			`{"dag_id":"d","event_id":"`+id(i).String()+`","ol_event_type":"FAIL","run_id":"r"}`)
	}
	want := `{"streams":[{"stream":{"source":"pushguard","kind":"task_state","job":"load","state":"failed"},"values":[` + task(0) + "," + task(1) +
		`]},{"stream":{"source":"pushguard","kind":"rejected","job":"load"},"values":[` +
		entry(strconv.FormatInt(noon.UnixNano(), 10), other, `{"event_id":"`+id(9).String()+`","owner":"data","reason":"ids"}`) + `]}]}`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Error(diff)
	}
}

// TestStreamsOfLokiAreBounded: jobs and states are labels up to a number, and beyond that
// metadata, by which the same query finds them, until others are not used any more.
func TestStreamsOfLokiAreBounded(t *testing.T) {
	t.Parallel()
	l := opened(t, Target{URL: "loki+http://127.0.0.1:1"}).(loki)
	streams := map[lokiLabels]bool{}
	label := func(r Record, now time.Time) lokiLabels {
		t.Helper()
		r.OpenLineage = lineage(r.State)
		labels, more := l.labels(&r, now)
		if labels.Job+more["job"] != r.Job || labels.State+more["state"] != r.State {
			t.Errorf("%+v is found by %+v and %q", r, labels, more)
		}
		streams[labels] = true
		return labels
	}
	for i := range 3 * fewJobs {
		label(Record{Kind: Rejected, Job: fmt.Sprint("load", i)}, noon)
		label(Record{Kind: TaskState, Job: "load0", State: fmt.Sprint("failed: ", i)}, noon)
	}
	if most := fewJobs + 1 + fewStates + 1; len(streams) != most {
		t.Errorf("%d streams, want %d", len(streams), most)
	}
	if got := label(Record{Kind: TaskState, Job: "load0", State: "failed"}, noon.Add(time.Minute)); got.Job != "load0" || got.State != "failed" {
		t.Errorf("a usual state of a known job: %+v", got)
	}
	if got := label(Record{Kind: TaskState, Job: "new", State: "deferred"}, noon.Add(fewUnused)); got.Job != "new" || got.State != "deferred" {
		t.Errorf("an hour later: %+v", got)
	}
}

func TestElasticsearch(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusOK, `{"took":1,"errors":false,"items":[]}`))
	s := opened(t, Target{URL: "elasticsearch+" + f.url + "/pushguard"})
	if _, err := s.send(t.Context(), encoded(t, 1)); err != nil {
		t.Fatal(err)
	}
	got := f.requests()[0]
	want := `{"create":{"_id":"` + id(0).String() + `"}}` + "\n" + `{"@timestamp":"2026-11-28T12:00:00.123456789Z",` + encoded0[1:] + "\n"
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Error(diff)
	}
	if got.path != "/pushguard/_bulk" || got.contentType != "application/x-ndjson" {
		t.Errorf("%+v", got)
	}
}

func TestAnswersOfElasticsearch(t *testing.T) {
	t.Parallel()
	item := func(status int) string {
		return fmt.Sprintf(`{"create":{"_index":"i","status":%d,"error":{"type":"e%d"}}}`, status, status)
	}
	for name, tc := range map[string]struct {
		body            string
		again, rejected []int
		fails           bool
	}{
		"all taken":                 {body: `{"errors":false,"items":[]}`},
		"there already":             {body: `{"errors":true,"items":[` + item(409) + `,` + item(201) + `,` + item(201) + `]}`},
		"one is at fault":           {body: `{"errors":true,"items":[` + item(201) + `,` + item(400) + `,` + item(409) + `]}`, rejected: []int{1}},
		"too many, and a bad shard": {body: `{"errors":true,"items":[` + item(429) + `,` + item(201) + `,` + item(503) + `]}`, again: []int{0, 2}},
		"nobody may write":          {body: `{"errors":true,"items":[` + item(403) + `,` + item(401) + `,` + item(404) + `]}`, again: []int{0, 1, 2}},
		"too few items":             {body: `{"errors":true,"items":[` + item(201) + `]}`, fails: true},
		"another action":            {body: `{"errors":true,"items":[{"index":{"status":201}},` + item(201) + `,` + item(201) + `]}`, again: []int{0}},
		"no JSON":                   {body: `<html>`, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, always(http.StatusOK, tc.body))
			d, err := opened(t, Target{URL: "elasticsearch+" + f.url + "/pushguard"}).send(t.Context(), encoded(t, 3))
			if (err != nil) != tc.fails {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]int{tc.again, tc.rejected}, [][]int{d.again, d.rejected}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzAnswerOfElasticsearch(f *testing.F) {
	f.Add([]byte(`{"errors":true,"items":[{"create":{"status":400}},{"create":{"status":201}}]}`), 2)
	f.Add([]byte(`{"errors":true,"items":null}`), 0)
	f.Fuzz(func(t *testing.T, answer []byte, sent int) {
		sent = max(0, min(sent, 1000))
		var d delivery
		if err := readBulk(&d, answer, sent); err != nil {
			return
		}
		for _, i := range append(d.again, d.rejected...) {
			if i < 0 || i >= sent {
				t.Errorf("record %d of %d", i, sent)
			}
		}
	})
}

// TestLongAnswerOfElasticsearch has it say so much of each record that what it says of four
// is not read to its end.
func TestLongAnswerOfElasticsearch(t *testing.T) {
	t.Parallel()
	item := `{"create":{"status":409,"error":{"reason":"` + strings.Repeat("x", maxResponse/4) + `"}}}`
	f := newFake(t, func(r received) (int, map[string]string, string) {
		items := slices.Repeat([]string{item}, strings.Count(r.body, `{"create":`))
		return http.StatusOK, nil, `{"errors":true,"items":[` + strings.Join(items, ",") + `]}`
	})
	s := opened(t, Target{URL: "elasticsearch+" + f.url + "/s"})
	var refused *refusedError
	if _, err := s.send(t.Context(), encoded(t, 4)); !errors.As(err, &refused) {
		t.Errorf("four records: %v, and not sent again in halves", err)
	}
	if d, err := s.send(t.Context(), encoded(t, 2)); err != nil || len(d.again)+len(d.rejected) > 0 {
		t.Errorf("two records: %v, %v", d, err)
	}
}

func TestClickhouse(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusOK, ""))
	s := opened(t, Target{URL: "clickhouse+" + f.url + "/logs/events", User: "guard"})
	for range 2 {
		if _, err := s.send(t.Context(), encoded(t, 2)); err != nil {
			t.Fatal(err)
		}
	}
	got := f.requests()
	query := got[0].query
	for _, want := range []string{
		"query=INSERT+INTO+%60logs%60.%60events%60+FORMAT+JSONEachRow", "async_insert=1", "wait_for_async_insert=1",
		"input_format_skip_unknown_fields=1", "date_time_input_format=best_effort", "insert_deduplication_token=",
	} {
		if !strings.Contains(query, want) {
			t.Errorf("%s is not in %s", want, query)
		}
	}
	if got[0].path != "/" || got[0].header.Get("X-ClickHouse-User") != "guard" || got[1].query != query {
		t.Errorf("%+v", got)
	}
	if want := encoded0 + "\n"; !strings.HasPrefix(got[0].body, want) || strings.Count(got[0].body, "\n") != 2 {
		t.Errorf("%q", got[0].body)
	}
}

func TestClickhousePasswordChanges(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusOK, ""))
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	s := opened(t, Target{URL: "clickhouse+" + f.url + "/logs/events", User: "guard", PasswordFile: file})
	for _, password := range []string{"old", "new"} {
		write(password + "\n")
		if _, err := s.send(t.Context(), encoded(t, 1)); err != nil {
			t.Fatal(err)
		}
		if got := f.requests(); got[len(got)-1].header.Get("X-ClickHouse-Key") != password {
			t.Errorf("%q was sent for %q", got[len(got)-1].header.Get("X-ClickHouse-Key"), password)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	var refused *refusedError
	if _, err := s.send(t.Context(), encoded(t, 1)); err == nil || errors.As(err, &refused) {
		t.Errorf("without the file: %v, which is not to cost a record", err)
	}
}

func TestAnswersOfClickhouse(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		status  int
		answer  string
		refused bool
	}{
		"a row that cannot be parsed":          {400, "Code: 117, e.displayText() = DB::Exception", true},
		"the same, by another status":          {500, "Code: 27. DB::Exception: Cannot parse input", true},
		"no table":                             {404, "Code: 60. DB::Exception: Table does not exist", false},
		"a fault of the server's, by any name": {400, "Code: 241. DB::Exception: Memory limit exceeded", false},
		"too large for who stands before it":   {413, "<html>", true},
		"no password":                          {401, "Code: 516", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, always(tc.status, tc.answer))
			_, err := opened(t, Target{URL: "clickhouse+" + f.url + "/logs/events"}).send(t.Context(), encoded(t, 1))
			var refused *refusedError
			if err == nil || errors.As(err, &refused) != tc.refused {
				t.Errorf("refused: %v: %v", !tc.refused, err)
			}
		})
	}
}

func TestOldClickhouseKnowsNoAsynchronousInserts(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(r received) (int, map[string]string, string) {
		if strings.Contains(r.query, "async_insert") || strings.Contains(r.query, "token") {
			return 404, nil, "Code: 115, e.displayText() = DB::Exception: Unknown setting async_insert"
		}
		return 200, nil, ""
	})
	s := opened(t, Target{URL: "clickhouse+" + f.url + "/logs/events"})
	for range 2 {
		if _, err := s.send(t.Context(), encoded(t, 1)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(f.requests()); n != 3 {
		t.Errorf("%d requests for two batches", n)
	}
}

func TestOTLP(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusOK, `{"partialSuccess":{}}`))
	if _, err := opened(t, Target{URL: "otlp+" + f.url}).send(t.Context(), encoded(t, 1)); err != nil {
		t.Fatal(err)
	}
	got := f.requests()[0]
	body, _ := json.Marshal(encoded0)
	attribute := func(k, v string) string { return `{"key":"` + k + `","value":{"stringValue":"` + v + `"}}` }
	want := `{"resourceLogs":[{"resource":{"attributes":[` + attribute("service.name", "pushguard") + "," + attribute("service.instance.id", "guard-1") +
		`]},"scopeLogs":[{"scope":{"name":"pushguard","version":"1"},"logRecords":[{"timeUnixNano":"` + strconv.FormatInt(noon.UnixNano(), 10) +
		`","severityNumber":17,"severityText":"ERROR","eventName":"pushguard.task_state","body":{"stringValue":` + string(body) + `},"attributes":[` +
		strings.Join([]string{
			attribute("kind", "task_state"), attribute("job", "load"), attribute("state", "failed"), attribute("dag_id", "d"),
			attribute("event_id", id(0).String()), attribute("ol_event_type", "FAIL"), attribute("run_id", "r"),
		}, ",") + `]}]}]}]}`
	if diff := cmp.Diff(want, got.body); diff != "" {
		t.Error(diff)
	}
	if got.path != "/v1/logs" || got.contentType != "application/json" {
		t.Errorf("%+v", got)
	}
}

func TestPartialSuccessOfOTLP(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]int{
		"": 0, "{}": 0, "ok": 0, `{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"no"}}`: 2,
		`{"partialSuccess":{"rejectedLogRecords":1}}`: 1, `{"partialSuccess":{"rejectedLogRecords":-1}}`: 0,
	} {
		if n, _ := partial([]byte(answer), nil); n != want {
			t.Errorf("%s: %d rejected", answer, n)
		}
	}
}

func TestOTLPRejectsNoMoreThanWasSent(t *testing.T) {
	t.Parallel()
	f := newFake(t, always(http.StatusOK, `{"partialSuccess":{"rejectedLogRecords":"5","errorMessage":"no"}}`))
	d, err := opened(t, Target{URL: "otlp+" + f.url}).send(t.Context(), encoded(t, 2))
	if err != nil || d.lost != 2 {
		t.Errorf("%d lost, %v", d.lost, err)
	}
}

func TestStatusesOfAnEventLog(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		status     int
		retryAfter string
		refused    bool
		later      time.Duration
	}{
		{status: 302},
		{status: 400, refused: true},
		{status: 401},
		{status: 413, refused: true},
		{status: 422, refused: true},
		{status: 429, retryAfter: "7", later: 7 * time.Second},
		{status: 429, retryAfter: "soon"},
		{status: 503, retryAfter: "1000000", later: mostLater},
		{status: 503, retryAfter: "-1"},
	} {
		t.Run(fmt.Sprint(tc.status, tc.retryAfter), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(received) (int, map[string]string, string) {
				return tc.status, map[string]string{"Retry-After": tc.retryAfter, "Location": "/elsewhere"}, "no\x1b[31m\nmore"
			})
			_, err := opened(t, Target{URL: "loki+" + f.url}).send(t.Context(), encoded(t, 1))
			var refused *refusedError
			if err == nil || errors.As(err, &refused) != tc.refused || laterOf(err) != tc.later {
				t.Errorf("%v", err)
			}
			if to := strings.Contains(err.Error(), ` to "/elsewhere", which is not followed`); to != (tc.status == 302) {
				t.Errorf("where a redirect leads: %v", err)
			}
			if !strings.Contains(err.Error(), "no [31m more") || len(f.requests()) != 1 {
				t.Errorf("%q after %d requests", err, len(f.requests()))
			}
		})
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(`{"torn":`), 0o600); err != nil {
		t.Fatal(err)
	}
	s := opened(t, Target{URL: "file://" + path})
	send := func(r string) {
		t.Helper()
		if _, err := s.send(t.Context(), [][]byte{[]byte(r)}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path, want string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
	send("a")
	send("b")
	read(path, "{\"torn\":\na\nb\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	send("c")
	read(path, "c\n")
	read(path+".1", "{\"torn\":\na\nb\n")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestFileThatIsNone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "target"), link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, dir} {
		if _, err := opened(t, Target{URL: "file://" + path}).send(t.Context(), [][]byte{[]byte("a")}); err == nil {
			t.Errorf("%s is written", path)
		}
	}
}

func TestStdout(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	s, err := Target{URL: "stdout:"}.open(&out, "", within)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.send(t.Context(), encoded(t, 1)); err != nil || out.String() != encoded0+"\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
}
