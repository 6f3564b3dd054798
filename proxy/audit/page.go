package audit

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPage is how many bytes of records a page has; a page may be short for it.
const maxPage = 8 << 20

// ErrCursor is the error of a cursor that no page gave.
var ErrCursor = errors.New("the cursor is none that a page gave")

// Page are records, newest first.
type Page struct {
	Records []json.RawMessage `json:"records"`
	// Next is the cursor of the page behind; empty if there is none.
	Next string `json:"next,omitempty"`
	// Skipped is how many lines were met that are no records, and files that cannot be
	// read, or not to their end.
	Skipped int `json:"skipped,omitempty"`
	// Kept is where the records are: in a file, or in memory, where the oldest go soon.
	Kept string `json:"kept,omitempty"`
}

// Path is the file of the log; empty if it has none.
func (l *Log) Path() string {
	if l == nil || l.file == nil {
		return ""
	}
	return l.file.path
}

// readPage returns the latest n records of the log at path that match, before the
// cursor, empty for the first page. It reads the files from the newest on, until
// none can hold a later record, and keeps a page in memory.
func readPage(ctx context.Context, path string, f *Filter, cursor string, n int) (Page, error) {
	from, err := parseCursor(cursor)
	if err != nil {
		return Page{}, err
	}
	var skipped Skipped
	files, err := openLog(path, &skipped)
	if err != nil {
		return Page{}, err
	}
	defer closeAll(files)
	s := selection{most: n + from.given}
	for i := len(files) - 1; i >= 0 && !s.beyond(rotatedTime(path, files[i].Name())); i-- {
		line := 0
		for record, err := range scanFile(files[i], path, &skipped) {
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return Page{}, err
			}
			if line++; from.admits(record.Time) && f.Matches(&record.Record) {
				s.add(chosen{record.Time, i, line, bytes.Clone(record.Text)})
			}
		}
	}
	page := s.page(from)
	page.Skipped = skipped.Lines + len(skipped.Damaged)
	return page, nil
}

// chosen is a record that may be on the page.
type chosen struct {
	at         time.Time
	file, line int
	text       []byte
}

// newestFirst compares by time and, where that is the same, by place.
func newestFirst(a, b chosen) int {
	return cmp.Or(b.at.Compare(a.at), cmp.Compare(b.file, a.file), cmp.Compare(b.line, a.line))
}

// selection are the newest records seen so far.
type selection struct {
	most  int
	kept  []chosen
	floor *chosen // the newest that was let go: nothing that is older comes in
	bytes int
}

func (s *selection) add(c chosen) {
	if s.floor != nil && newestFirst(c, *s.floor) > 0 {
		return
	}
	s.kept = append(s.kept, c)
	s.bytes += len(c.text)
	if len(s.kept) >= 2*s.most+16 || s.bytes > 2*maxPage {
		s.cut()
	}
}

// cut sorts, and keeps what fits on the page: one record at least.
func (s *selection) cut() {
	slices.SortFunc(s.kept, newestFirst)
	s.bytes = 0
	for i, c := range s.kept {
		if i == s.most || i > 0 && s.bytes+len(c.text) > maxPage {
			gone := c
			gone.text = nil
			s.floor = &gone
			clear(s.kept[i:])
			s.kept = s.kept[:i]
			return
		}
		s.bytes += len(c.text)
	}
}

// beyond reports whether a file that was set aside then can hold nothing for the page.
func (s *selection) beyond(at time.Time) bool {
	s.cut()
	return s.floor != nil && !at.IsZero() && at.Before(s.floor.at)
}

// page is the selection without what the pages before gave.
func (s *selection) page(from place) Page {
	s.cut()
	out, next := Page{Records: []json.RawMessage{}}, from
	for i, c := range s.kept {
		if i < from.given && c.at.Equal(from.at) {
			continue
		}
		if !c.at.Equal(next.at) {
			next = place{at: c.at}
		}
		next.given++
		out.Records = append(out.Records, c.text)
	}
	if s.floor != nil && len(out.Records) > 0 {
		out.Next = next.String()
	}
	return out
}

// place is where a page ended: at the time of its last record, of which so many were
// given.
type place struct {
	at    time.Time
	given int
}

func (p place) admits(t time.Time) bool { return p.at.IsZero() || !t.After(p.at) }

// String is the cursor.
func (p place) String() string { return fmt.Sprintf("%d-%d", p.at.UnixNano(), p.given) }

// maxGiven bounds what a cursor can have a search keep in memory.
const maxGiven = 100_000

func parseCursor(s string) (place, error) {
	if s == "" {
		return place{}, nil
	}
	nanos, given, _ := strings.Cut(s, "-")
	at, err := strconv.ParseInt(nanos, 10, 64)
	n, err2 := strconv.Atoi(given)
	if err != nil || err2 != nil || n < 1 || n > maxGiven {
		return place{}, ErrCursor
	}
	return place{time.Unix(0, at).UTC(), n}, nil
}
