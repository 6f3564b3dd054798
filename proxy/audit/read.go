package audit

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Line is one record as it stands in a file.
type Line struct {
	Record
	// Text is the line without its end. It is valid until the next one is read.
	Text []byte
}

// Skipped are the lines that are no records: torn by a crash, or not the guard's.
type Skipped struct {
	// Lines is how many there were, Places where the first of them stand, as
	// FILE:LINE.
	Lines  int
	Places []string
	// Damaged are the files that were set aside and cannot be read, or not to their end,
	// each with the reason: what is before that was read.
	Damaged []string
}

// maxPlaces is how many places are named of what was skipped.
const maxPlaces = 5

func (s *Skipped) add(name string, line int) {
	if s.Lines++; len(s.Places) < maxPlaces {
		s.Places = append(s.Places, fmt.Sprintf("%s:%d", name, line))
	}
}

// String is one line for people; empty if nothing was skipped.
func (s *Skipped) String() string {
	var parts []string
	if s.Lines > 0 {
		more := ""
		if s.Lines > len(s.Places) {
			more = ", …"
		}
		parts = append(parts, fmt.Sprintf("lines skipped that are no records: %d (%s%s)", s.Lines, strings.Join(s.Places, ", "), more))
	}
	if len(s.Damaged) > 0 {
		parts = append(parts, "files that cannot be read, or not to their end: "+strings.Join(s.Damaged, ", "))
	}
	return strings.Join(parts, "; ")
}

// Scan yields the records that r holds, compressed or not, named in places as name. It holds one line in
// memory at a time, of 1 MiB at most; what is longer is skipped. What cannot be read
// to its end yields its error last.
func Scan(r io.Reader, name string, skipped *Skipped) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		plain, err := Decompress(r)
		if err != nil {
			yield(Line{}, fmt.Errorf("%s: %w", name, err))
			return
		}
		defer plain.Close()
		in := bufio.NewReaderSize(plain, 64<<10)
		var line []byte
		for n := 1; ; n++ {
			var err error
			line, err = readLine(in, line[:0])
			if err != nil && !errors.Is(err, io.EOF) {
				yield(Line{}, fmt.Errorf("%s: %w", name, err))
				return
			}
			if text := bytes.TrimSpace(line); len(text) > 0 {
				if record, ok := parse(text); !ok {
					skipped.add(name, n)
				} else if !yield(Line{record, text}, nil) {
					return
				}
			}
			if err != nil {
				return
			}
		}
	}
}

// readLine appends the next line to line, cut after longestLine bytes, which makes it
// no record.
func readLine(in *bufio.Reader, line []byte) ([]byte, error) {
	for {
		part, err := in.ReadSlice('\n')
		if room := longestLine + 1 - len(line); len(part) > room {
			part = part[:room]
		}
		line = append(line, part...)
		if !errors.Is(err, bufio.ErrBufferFull) {
			return line, err
		}
	}
}

func parse(text []byte) (Record, bool) {
	var r Record
	if len(text) > longestLine || json.Unmarshal(text, &r) != nil || r.Time.IsZero() || r.Outcome == "" {
		return Record{}, false
	}
	return r, true
}

// Read yields the records of the logs at paths, in the order of their times: of each
// log the files that were set aside first. A file that is gone meanwhile, by rotation,
// is left out.
func Read(paths []string, skipped *Skipped) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		var heads []*head
		defer func() {
			for _, h := range heads {
				h.stop()
			}
		}()
		for _, path := range paths {
			h := &head{}
			h.next, h.stop = iter.Pull2(readLog(path, skipped))
			heads = append(heads, h)
			h.advance()
		}
		for {
			heads = slices.DeleteFunc(heads, func(h *head) bool { return !h.more })
			if len(heads) == 0 {
				return
			}
			h := slices.MinFunc(heads, func(a, b *head) int { return a.line.Time.Compare(b.line.Time) })
			if !yield(h.line, h.err) {
				return
			}
			h.advance()
		}
	}
}

// head is the next record of one log.
type head struct {
	next func() (Line, error, bool)
	stop func()
	line Line
	err  error
	more bool
}

func (h *head) advance() { h.line, h.err, h.more = h.next() }

// readLog yields the records of one log.
func readLog(path string, skipped *Skipped) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		files, err := openLog(path, skipped)
		if err != nil {
			yield(Line{}, err)
			return
		}
		defer closeAll(files)
		for _, f := range files {
			for line, err := range scanFile(f, path, skipped) {
				if !yield(line, err) {
					return
				}
			}
		}
	}
}

// scanFile is Scan of one file of the log at path. One that was set aside and is damaged
// costs what cannot be read of it, and none of the others.
func scanFile(f *os.File, path string, skipped *Skipped) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for line, err := range Scan(f, f.Name(), skipped) {
			if err != nil && f.Name() != path {
				skipped.Damaged = append(skipped.Damaged, err.Error())
				return
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// Size is how many bytes Read would read of the logs at paths, for the show of progress:
// what cannot be looked at counts as nothing. It is -1 if that is all.
func Size(paths []string) int64 {
	var total int64
	for _, path := range paths {
		names, _ := Rotated(path)
		for _, name := range append(names, path) {
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
				total += info.Size()
			}
		}
	}
	if total == 0 {
		return -1
	}
	return total
}

// openLog opens all files of a log before the first is read, so that none is missed or
// read twice when it is set aside meanwhile. Of those that were set aside it names what
// cannot be opened, unless it is gone.
func openLog(path string, skipped *Skipped) ([]*os.File, error) {
	live, err := os.Open(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	names, listErr := Rotated(path)
	if live == nil && len(names) == 0 {
		return nil, err
	}
	if listErr != nil {
		skipped.Damaged = append(skipped.Damaged, listErr.Error())
	}
	var files []*os.File
	for _, name := range names {
		switch f, err := os.Open(name); {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			skipped.Damaged = append(skipped.Damaged, err.Error())
		case same(f, live):
			_ = f.Close()
		default:
			files = append(files, f)
		}
	}
	if live != nil {
		files = append(files, live)
	}
	return files, nil
}

// same reports whether two files are one: b was set aside after it was opened.
func same(a, b *os.File) bool {
	if b == nil {
		return false
	}
	one, err := a.Stat()
	other, err2 := b.Stat()
	return err == nil && err2 == nil && os.SameFile(one, other)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// Filter says which records are wanted; what it leaves out does not matter. It is
// safe for concurrent use.
type Filter struct {
	// Job matches the job as it was sent or as it is governed.
	Job *regexp.Regexp
	// Owner, Finding, Outcome and Client are what the record has: Outcome also as
	// what would have been, Client with or without its port.
	Owner, Finding, Outcome, Client string
	// Since and Until are when the push came, the latter not included.
	Since, Until time.Time
}

// Matches reports whether the record is wanted.
func (f *Filter) Matches(r *Record) bool {
	host, _, found := strings.Cut(r.Client, "]")
	if host = strings.TrimPrefix(host, "["); !found {
		host = r.Client
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host = host[:i]
		}
	}
	return (f.Job == nil || f.Job.MatchString(r.Job) || f.Job.MatchString(r.Governed)) &&
		(f.Owner == "" || f.Owner == r.Owner) &&
		(f.Outcome == "" || f.Outcome == r.Outcome || f.Outcome == r.Would) &&
		(f.Client == "" || f.Client == r.Client || f.Client == host) &&
		(f.Since.IsZero() || !r.Time.Before(f.Since)) && (f.Until.IsZero() || r.Time.Before(f.Until)) &&
		(f.Finding == "" || f.found(r))
}

func (f *Filter) found(r *Record) bool {
	for _, found := range r.Findings {
		if found.ID == f.Finding {
			return true
		}
	}
	return r.Forecast != nil && r.Forecast.Findings[f.Finding] > 0
}

// Outlook is what enforcement would make of one job, by the forecasts in a log.
type Outlook struct {
	Job   string `json:"job"`
	Owner string `json:"owner,omitempty"`
	// Policy is the digest of the policy that the forecast is of: the latest.
	Policy string `json:"policy,omitempty"`
	Forecast
	Until time.Time `json:"until"` // of the last record
	Safe  bool      `json:"safe"`
}

// Outlooks adds up forecasts by job. The zero value is of none. What an earlier policy
// made of a job is dropped with the first record of a later. It is not safe for
// concurrent use.
type Outlooks struct{ jobs map[string]*Outlook }

// Add adds a record; one without a forecast adds nothing.
func (o *Outlooks) Add(r *Record) {
	if r.Forecast == nil || r.Outcome != OutcomeForecast {
		return
	}
	if o.jobs == nil {
		o.jobs = map[string]*Outlook{}
	}
	job := o.jobs[r.Governed]
	if job == nil || job.Policy != r.Policy {
		job = &Outlook{Job: r.Governed, Policy: r.Policy}
		o.jobs[r.Governed] = job
	}
	job.Owner, job.Until = r.Owner, r.Time
	job.Forecast.Add(*r.Forecast)
	job.Safe = job.Forecast.Safe()
}

// All returns the jobs by owner and name.
func (o *Outlooks) All() []Outlook {
	var out []Outlook
	for _, job := range o.jobs {
		out = append(out, *job)
	}
	slices.SortFunc(out, func(a, b Outlook) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.Job, b.Job))
	})
	return out
}
