package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/rules/finding"
)

var full = Record{
	Time: time.Date(2026, 3, 4, 6, 6, 7, 89, time.FixedZone("", 3600)), Job: "nightly_20260304", Governed: "nightly",
	Group: `{job="nightly"}`, Owner: "data-eng", Method: "PUT", Client: "192.0.2.7", Mode: "report", Policy: "sha256:ab",
	Outcome: "changed", Would: "refused", Status: 200, UpstreamStatus: 202,
	Findings:     []finding.Finding{{ID: "ids", Metric: "rows", Label: "run_id", Sample: "<&>", Count: 3, Limit: 1, Fix: "drop it"}},
	MoreFindings: 2, Samples: 7, Bytes: 123, MS: 1.25,
}

func TestTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		r    Record
		want string
	}{
		"everything": {full, `{"time":"2026-03-04T05:06:07.000000089Z","job":"nightly_20260304","governed":"nightly",` +
			`"group":"{job=\"nightly\"}","owner":"data-eng","method":"PUT","client":"192.0.2.7","mode":"report","policy":"sha256:ab",` +
			`"outcome":"changed","would":"refused","status":200,"upstream_status":202,"findings":[{"id":"ids","metric":"rows",` +
			`"label":"run_id","sample":"<&>","count":3,"limit":1,"fix":"drop it"}],"more_findings":2,"samples":7,"bytes":123,"ms":1.25}` + "\n"},
		"nothing": {Record{}, `{"time":"0001-01-01T00:00:00Z","job":"","method":"","outcome":"","status":0,"samples":0,"bytes":0,"ms":0}` + "\n"},
		"controls": {
			Record{Job: "a\nb\r\x00\x1b[2J\x7f\u0085\u009b\u00a0é\u2028"},
			`{"time":"0001-01-01T00:00:00Z","job":"a\nb\r\u0000\u001b[2J\u007f\u0085\u009b` + "\u00a0é" + `\u2028","method":"","outcome":"","status":0,"samples":0,"bytes":0,"ms":0}` + "\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			New(&b, nil).Write(c.r)
			if diff := cmp.Diff(c.want, b.String()); diff != "" {
				t.Errorf("line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTextIsBounded(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{strings.Repeat("x", maxText-1), strings.Repeat("x", maxText-1)},
		{strings.Repeat("x", maxText), strings.Repeat("x", maxText)},
		{strings.Repeat("x", maxText+1), strings.Repeat("x", maxText) + "…"},
		{strings.Repeat("x", maxText-1) + "é", strings.Repeat("x", maxText-1) + "…"},
		{strings.Repeat("x", maxText-3) + "😀", strings.Repeat("x", maxText-3) + "…"},
		{"a\xff\xfeb", "a\ufffdb"},
		{strings.Repeat("\x80", 1<<20), "\ufffd…"},
	} {
		if got := text(c.in); got != c.want {
			t.Errorf("%.20q of %d bytes became %.20q of %d", c.in, len(c.in), got, len(got))
		}
	}
}

// TestEveryFieldIsBounded sets each text of a record, whatever fields it has,
// to 1 MiB.
func TestEveryFieldIsBounded(t *testing.T) {
	huge := strings.Repeat("\x01", 1<<20)
	fill := func(v reflect.Value) {
		for i := range v.NumField() {
			if v.Field(i).Kind() == reflect.String {
				v.Field(i).SetString(huge)
			}
		}
	}
	var r Record
	var f finding.Finding
	fill(reflect.ValueOf(&r).Elem())
	fill(reflect.ValueOf(&f).Elem())
	for range 10_000 {
		r.Findings = append(r.Findings, f)
	}
	var b bytes.Buffer
	New(&b, nil).Write(r)
	if b.Len() > maxLine {
		t.Errorf("a line of %d bytes, limit: %d", b.Len(), maxLine)
	}
	var got Record
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || len(got.Findings) != maxFindings || got.MoreFindings != 10_000-maxFindings {
		t.Errorf("%d findings and %d more, %v", len(got.Findings), got.MoreFindings, err)
	}
	if len(r.Findings) != 10_000 || r.Findings[0].ID != huge {
		t.Error("the caller's findings were changed")
	}
}

// maxLine is what 13 texts of a record and 5 of each finding may take, at six
// bytes for each, beside their names.
const maxLine = (13+5*maxFindings)*(6*maxText+3) + 200*(maxFindings+2)

func TestNumbersThatJSONLacks(t *testing.T) {
	for _, ms := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		var b bytes.Buffer
		New(&b, func(err error) { t.Error(err) }).Write(Record{MS: ms})
		if !json.Valid(b.Bytes()) {
			t.Errorf("%v: %q", ms, b.String())
		}
	}
}

func TestNilLog(t *testing.T) {
	var l *Log
	l.Write(full)
	if l.Lost() != 0 {
		t.Error("a nil log lost records")
	}
}

// disk is a writer that takes as many bytes of each write as it is told, then
// fails; -1 takes all.
type disk struct {
	bytes.Buffer
	take []int
	err  error
}

func (d *disk) Write(p []byte) (int, error) {
	if len(d.take) == 0 || d.take[0] < 0 {
		d.take = d.take[min(1, len(d.take)):]
		return d.Buffer.Write(p)
	}
	n := min(d.take[0], len(p))
	d.take = d.take[1:]
	d.Buffer.Write(p[:n])
	return n, d.err
}

func TestAFailingDisk(t *testing.T) {
	full := errors.New("disk full")
	for name, c := range map[string]struct {
		take     []int
		err      error
		lost     uint64
		wantJobs []string // of the lines that are whole
	}{
		"works":                         {nil, nil, 0, []string{"0", "1", "2", "3"}},
		"takes nothing":                 {[]int{-1, 0}, full, 1, []string{"0", "2", "3"}},
		"takes a part":                  {[]int{-1, 10}, full, 1, []string{"0", "2", "3"}},
		"takes a part and says nothing": {[]int{-1, 10}, nil, 1, []string{"0", "2", "3"}},
		"takes parts, then nothing":     {[]int{10, 0, 5}, full, 3, []string{"3"}},
		"takes a part, then its end":    {[]int{10, 1}, full, 2, []string{"2", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{take: c.take, err: c.err}
			l := New(&lineWriter{w: d}, func(err error) {
				if c.err != nil && !errors.Is(err, c.err) || c.err == nil && !errors.Is(err, io.ErrShortWrite) {
					t.Errorf("reported %v", err)
				}
			})
			for i := range 4 {
				l.Write(Record{Job: fmt.Sprint(i)})
			}
			var jobs []string
			for line := range strings.Lines(d.String()) {
				if line == "\n" {
					t.Errorf("an empty line in %q", d.String())
				}
				var r Record
				if json.Unmarshal([]byte(line), &r) == nil {
					jobs = append(jobs, r.Job)
				}
			}
			if diff := cmp.Diff(c.wantJobs, jobs); diff != "" || l.Lost() != c.lost {
				t.Errorf("%d lost, want %d; lines (-want +got):\n%s\n%q", l.Lost(), c.lost, diff, d.String())
			}
		})
	}
}

// hanging is a writer that takes nothing until it is let go.
type hanging struct {
	began chan struct{}
	goes  chan struct{}
}

func (h hanging) Write(p []byte) (int, error) {
	h.began <- struct{}{}
	<-h.goes
	return len(p), nil
}

// TestADiskThatHangs holds up one record. The others are lost and counted, stay in memory,
// and nobody waits who only asks.
func TestADiskThatHangs(t *testing.T) {
	h := hanging{make(chan struct{}, 9), make(chan struct{})}
	l := New(h, nil)
	record := func(job string) Record { return Record{Time: full.Time, Job: job, Outcome: "passed"} }
	done := make(chan struct{})
	go func() { defer close(done); l.Write(record("held up")) }()
	<-h.began
	for range 20 {
		l.Write(record("lost"))
	}
	if n, err := l.Lost(), l.Err(); n != 20 || !errors.Is(err, errStalled) {
		t.Errorf("%d lost, %v", n, err)
	}
	close(h.goes)
	<-done
	l.Write(record("after"))
	if n, err := l.Lost(), l.Err(); n != 20 || err != nil {
		t.Errorf("afterwards: %d lost, %v", n, err)
	}
	if got := jobsOf(l.recent.newest(30), func(line []byte) []byte { return line }); strings.Count(got, "lost") != 20 || !strings.HasSuffix(got, "after") {
		t.Errorf("in memory are %s", got)
	}
}

func TestReportsAreRare(t *testing.T) {
	var reports []string
	now := time.Unix(1e9, 0)
	l := New(&disk{take: make([]int, 1000), err: io.ErrClosedPipe}, func(err error) { reports = append(reports, err.Error()) })
	l.now = func() time.Time { return now }
	for range 125 {
		l.Write(full)
		now = now.Add(time.Second)
	}
	want := []string{
		"audit log: 1 records lost: io: read/write on closed pipe",
		"audit log: 60 records lost: io: read/write on closed pipe",
		"audit log: 60 records lost: io: read/write on closed pipe",
	}
	if diff := cmp.Diff(want, reports); diff != "" || l.Lost() != 125 {
		t.Errorf("%d lost; reports (-want +got):\n%s", l.Lost(), diff)
	}
}

func TestReportingMayUseTheLog(t *testing.T) {
	var l *Log
	l = New(&disk{take: []int{0}, err: io.ErrClosedPipe}, func(error) { l.Write(full); _ = l.Lost() })
	l.Write(full)
}

func TestManyAtOnce(t *testing.T) {
	const writers, records = 16, 200
	var out lines // not locked: the log has to
	l := New(&out, func(err error) { t.Error(err) })
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range records {
				l.Write(Record{Job: fmt.Sprint(w), Samples: i, Group: strings.Repeat("g", i)})
			}
		})
	}
	wg.Wait()
	next := make(map[string]int)
	for _, line := range out {
		var r Record
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if r.Samples != next[r.Job] {
			t.Fatalf("job %s: record %d after %d", r.Job, r.Samples, next[r.Job])
		}
		next[r.Job]++
	}
	if len(out) != writers*records {
		t.Errorf("%d writes for %d records", len(out), writers*records)
	}
}

// lines keeps every write apart.
type lines [][]byte

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, bytes.Clone(p))
	return len(p), nil
}

func FuzzARecordIsALine(f *testing.F) {
	f.Add("job", "label", "fix", 1.5)
	f.Add("a\nb", "\x00\x7f\u0085", "\u2028\u2029", math.Inf(1))
	f.Add("\xc2", "\xc2\"", strings.Repeat("é", 300), 0.0)
	f.Add("\xed\xa0\x80", "</script>", strings.Repeat("\xc2", 600), -1e300)
	f.Fuzz(func(t *testing.T, job, label, fix string, ms float64) {
		var b bytes.Buffer
		l := New(&b, func(err error) { t.Error(err) })
		l.Write(Record{Job: job, Group: fix, MS: ms, Findings: []finding.Finding{{ID: job, Label: label, Sample: label, Fix: fix}}})
		line, ended := strings.CutSuffix(b.String(), "\n")
		if !ended || !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) || strings.ContainsAny(line, "\u2028\u2029") {
			t.Fatalf("not one line: %q", b.String())
		}
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(job) <= maxText && utf8.ValidString(job) && r.Job != job {
			t.Errorf("job %q was written as %q", job, r.Job)
		}
		if len(r.Job) > 3*maxText || !strings.HasPrefix(strings.ToValidUTF8(job, "\ufffd"), strings.TrimSuffix(r.Job, "…")) && utf8.ValidString(job) {
			t.Errorf("job %q was written as %q", job, r.Job)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	l := New(io.Discard, nil)
	b.ReportAllocs()
	for b.Loop() {
		l.Write(full)
	}
}
