// Package audit is the decision log: one JSON line for each push that was
// decided, written where operators can search it.
//
// The log never stands in the way of a push, but of the one whose record a disk that
// hangs is taking. A record that cannot be written is counted, reported and gone.
// And a client cannot write anything into it but the values of its own record: what
// came from outside is bounded in length, is valid UTF-8, and holds no control
// character unescaped, so that a record is always exactly one line.
package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/pushguard/pushguard/rules/finding"
)

const (
	maxText     = 512 // bytes of a text kept
	maxFindings = 20  // of a record
	reportEvery = time.Minute
	tendEvery   = time.Second
	// longestLine is more than any record takes.
	longestLine = 1 << 20
)

// Record is what was decided about one push, and why. Text over 512 bytes is
// cut, and findings over 20 are left out and counted.
type Record struct {
	// Time is when the push came. It is written in UTC.
	Time time.Time `json:"time"`
	// Job is the job as it was sent, Governed as the policy sees it.
	Job      string `json:"job"`
	Governed string `json:"governed,omitempty"`
	// Entry is the policy entry that governs the job: its pattern, or default.
	Entry string `json:"entry,omitempty"`
	// Group is the grouping key as the upstream stores it.
	Group string `json:"group,omitempty"`
	// Owner is who answers for the job, by the policy.
	Owner  string `json:"owner,omitempty"`
	Method string `json:"method"`
	// Client is the address the push came from.
	Client string `json:"client,omitempty"`
	// User is who pushed, if the policy knows users.
	User string `json:"user,omitempty"`
	// Mode is the policy's for this job, Policy the digest of the policy.
	Mode   string `json:"mode,omitempty"`
	Policy string `json:"policy,omitempty"`
	// Outcome is what became of the push. Would is what enforcement would have
	// made of it, where the mode only reports.
	Outcome string `json:"outcome"`
	// Reason is why the guard deleted a group by itself: stale or evicted. It is spooled
	// of a push that was answered 202 while the Pushgateway was away, which then refused it.
	Reason string `json:"reason,omitempty"`
	Would  string `json:"would,omitempty"`
	// Status is what the client was answered, UpstreamStatus what the upstream
	// answered; 0 if it was not asked or did not answer.
	Status         int `json:"status"`
	UpstreamStatus int `json:"upstream_status,omitempty"`
	// Findings are what was noticed, MoreFindings how many more there were.
	Findings     []finding.Finding `json:"findings,omitempty"`
	MoreFindings int               `json:"more_findings,omitempty"`
	// Samples and Bytes are the size of the push, unpacked.
	Samples int   `json:"samples"`
	Bytes   int64 `json:"bytes"`
	// MS is how many milliseconds the push took.
	MS float64 `json:"ms"`
	// Count is how many rejections of one kind and client the record stands for,
	// First when the first of them came: they were folded into one, and everything
	// else is that of the last. Various says that they differ in job and findings.
	// 0 is a push that was written as it came.
	Count   int        `json:"count,omitempty"`
	First   *time.Time `json:"first,omitempty"`
	Various bool       `json:"various,omitempty"`
	// Forecast is of many pushes: see OutcomeForecast. Nil in the record of one.
	Forecast *Forecast `json:"forecast,omitempty"`
}

// Log writes records, and keeps the newest in memory. It is safe for concurrent use. A
// nil *Log writes nothing.
type Log struct {
	onError func(error)
	now     func() time.Time
	w       io.Writer    // nil keeps the records in memory alone
	writing turn         // held while a record is written
	line    bytes.Buffer // of who has the turn

	mu       sync.Mutex
	file     *File    // that w is; nil if it is another writer's
	folding  *folding // nil folds nothing
	recent   recent
	failed   error // of the last record; nil if it was written
	lost     uint64
	reported uint64 // of the lost
	report   time.Time

	subscribers map[*Subscription]bool
}

// New returns a log that writes to w, each record by one call of Write. If
// records are lost, onError is told of it: of the first at once, then at most
// once a minute, with how many were lost since. It may be nil.
func New(w io.Writer, onError func(error)) *Log {
	return &Log{w: w, onError: onError, now: time.Now, writing: turn{held: make(chan struct{}, 1), made: time.Now()}}
}

// Start returns the log of a file that rotates. Rejections that one client repeats
// are folded: the first is written at once, and those that follow are counted and
// written as one record when Run finds that ten seconds are over, or by Close.
func Start(path string, r Rotation, onError func(error)) (*Log, error) {
	file, err := OpenFile(path, r)
	if err != nil {
		return nil, err
	}
	l := New(file, onError)
	l.file, l.folding = file, newFolding()
	return l, nil
}

// Run writes what was counted and tends the file, until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			l.flush(false)
			l.Reopen()
		}
	}
}

// Reopen follows a file that others have moved. It is for SIGHUP, and also done
// by Run every second.
func (l *Log) Reopen() {
	if l == nil || l.file == nil {
		return
	}
	if err := l.file.Tend(); err != nil {
		l.mu.Lock()
		err = l.reportable(err)
		l.mu.Unlock()
		l.tell(err)
	}
}

// Close writes what was counted and closes the file. Nothing may be written after.
func (l *Log) Close() error {
	if l == nil {
		return nil
	}
	l.flush(true)
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// Write writes a record. It does not fail: see New and Lost. It returns the time of the
// record in the log that tells of it: its own, or where it is only counted, the newest of
// its kind; zero if there is none.
func (l *Log) Write(r Record) (told time.Time) {
	if l == nil {
		return time.Time{}
	}
	r = r.bounded()
	if told, counted := l.folds(r); counted {
		return told
	}
	if !l.writeOf(r) {
		return time.Time{}
	}
	return r.Time
}

// folds reports whether a record was counted instead, and the newest of its kind.
func (l *Log) folds(r Record) (newest time.Time, counted bool) {
	if l.folding == nil || !r.folds() {
		return time.Time{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.folding.take(r, l.now())
}

// writeOf writes a record that may be of a kind, and reports whether it is in the log.
func (l *Log) writeOf(r Record) bool {
	err := l.write(r)
	l.tell(err)
	if err == nil && l.folding != nil && r.folds() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.folding.wrote(r)
	}
	return err == nil
}

// flush writes the records of what was counted.
func (l *Log) flush(all bool) {
	if l.folding == nil {
		return
	}
	l.mu.Lock()
	due := l.folding.due(l.now(), all)
	l.mu.Unlock()
	for _, r := range due {
		l.writeOf(r)
	}
}

func (l *Log) tell(err error) {
	if err != nil && l.onError != nil {
		l.onError(err)
	}
}

// Lost returns how many records could not be written.
func (l *Log) Lost() uint64 {
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Err is why the last record could not be written, nil if it was.
func (l *Log) Err() error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// write returns the error that is due to be reported.
func (l *Log) write(r Record) error {
	err := errStalled
	if l.writing.take() {
		err = l.put(r)
		l.writing.give()
	} else if _, failed := l.keep(r, new(bytes.Buffer)); failed != nil {
		err = failed
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed = err; err == nil {
		return nil
	}
	l.lost++
	return l.reportable(err)
}

// reportable is the error as it is told: not more often than once a minute.
func (l *Log) reportable(err error) error {
	if now := l.now(); l.report.IsZero() || now.Sub(l.report) >= reportEvery {
		n := l.lost - l.reported
		l.report, l.reported = now, l.lost
		if n == 0 {
			return fmt.Errorf("audit log: %w", err)
		}
		return fmt.Errorf("audit log: %d records lost: %w", n, err)
	}
	return nil
}

// put keeps a record in memory and writes its line.
func (l *Log) put(r Record) error {
	line, err := l.keep(r, &l.line)
	if err != nil || l.w == nil {
		return err
	}
	n, err := l.w.Write(line)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}

// keep keeps a record in memory and returns its line, which may be of the buffer.
func (l *Log) keep(r Record, in *bytes.Buffer) ([]byte, error) {
	in.Reset()
	encoder := json.NewEncoder(in)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(r); err != nil {
		return nil, err
	}
	line := escapeControls(in.Bytes())
	text := bytes.TrimSpace(line)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recent.add(text)
	l.tellSubscribers(&r, text)
	return line, nil
}

// bounded returns the record with everything in it cut to its bounds.
func (r Record) bounded() Record {
	r.Time = r.Time.UTC()
	for _, s := range []*string{
		&r.Job, &r.Governed, &r.Entry, &r.Group, &r.Owner, &r.Method, &r.Client, &r.User, &r.Mode, &r.Policy, &r.Outcome, &r.Would, &r.Reason,
	} {
		*s = text(*s)
	}
	if n := len(r.Findings); n > maxFindings {
		r.Findings = r.Findings[:maxFindings]
		r.MoreFindings += n - maxFindings
	}
	findings := make([]finding.Finding, 0, len(r.Findings))
	for _, f := range r.Findings {
		f.ID, f.Metric, f.Label, f.Sample, f.Fix = text(f.ID), text(f.Metric), text(f.Label), text(f.Sample), text(f.Fix)
		findings = append(findings, f)
	}
	r.Findings = findings
	if math.IsNaN(r.MS) || math.IsInf(r.MS, 0) {
		r.MS = 0 // JSON has no such number
	}
	return r
}

// text cuts s to maxText bytes and makes it valid UTF-8.
func text(s string) string {
	if len(s) > maxText {
		s = finding.Head(s, maxText) + "…"
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// escapeControls escapes the control characters that encoding/json leaves as
// they are: DEL and U+0080 to U+009F, which terminals obey and of which some
// readers take U+0085 for the end of a line. They occur in strings only.
func escapeControls(line []byte) []byte {
	if bytes.IndexByte(line, 0x7f) < 0 && bytes.IndexByte(line, 0xc2) < 0 {
		return line
	}
	out := make([]byte, 0, len(line)+16)
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == 0x7f:
			out = append(out, `\u007f`...)
		case c == 0xc2 && line[i+1] < 0xa0: // a string is valid UTF-8 and never the end of a line
			i++
			out = fmt.Appendf(out, `\u%04x`, line[i])
		default:
			out = append(out, c)
		}
	}
	return out
}
