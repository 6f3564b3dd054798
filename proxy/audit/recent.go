package audit

import (
	"bytes"
	"context"
	"errors"
)

const (
	// maxRecent is how many of the newest records are kept in memory, and
	// maxRecentBytes how many bytes they may take together.
	maxRecent      = 1000
	maxRecentBytes = 4 << 20
	// keptRoom is the most that the place of a record keeps for the next one in it.
	keptRoom = 4 << 10
	// maxSubscribers bounds who follows the records, and maxWaiting how many records
	// wait for each.
	maxSubscribers = 64
	maxWaiting     = 256
)

// ErrSubscribers is the error of one subscriber too many.
var ErrSubscribers = errors.New("the audit log has as many live readers as it may: try again later")

// recent are the newest records, as their lines. The zero value is empty.
type recent struct {
	lines [][]byte // a ring
	first int      // the oldest
	n     int
	bytes int
}

// add keeps a copy of a line, in the memory of one that goes where it can.
func (r *recent) add(line []byte) {
	if r.lines == nil {
		r.lines = make([][]byte, maxRecent)
	}
	for r.n == maxRecent || r.n > 0 && r.bytes+len(line) > maxRecentBytes {
		r.drop()
	}
	place := &r.lines[(r.first+r.n)%maxRecent]
	*place = append((*place)[:0], line...)
	r.n++
	r.bytes += len(line)
}

// drop lets the oldest go.
func (r *recent) drop() {
	place := &r.lines[r.first]
	r.bytes -= len(*place)
	if cap(*place) > keptRoom {
		*place = nil
	}
	r.first = (r.first + 1) % maxRecent
	r.n--
}

// newest returns copies of the newest lines, up to n of them, the oldest first.
func (r *recent) newest(n int) [][]byte {
	n = max(0, min(n, r.n))
	out := make([][]byte, 0, n)
	for i := r.n - n; i < r.n; i++ {
		out = append(out, bytes.Clone(r.lines[(r.first+i)%maxRecent]))
	}
	return out
}

// InMemory returns a log that has no file: the newest 1000 records are kept, in 4 MiB
// at most, and gone with the process. It folds as that of Start does.
func InMemory() *Log {
	l := New(nil, nil)
	l.folding = newFolding()
	return l
}

// Page returns the latest n records that match, before the cursor, empty for the first
// page: of the file if there is one, or else of what is kept in memory.
func (l *Log) Page(ctx context.Context, f *Filter, cursor string, n int) (Page, error) {
	if path := l.Path(); path != "" {
		page, err := readPage(ctx, path, f, cursor, n)
		page.Kept = "file"
		return page, err
	}
	from, err := parseCursor(cursor)
	if err != nil {
		return Page{}, err
	}
	s := selection{most: n + from.given}
	l.mu.Lock()
	lines := l.recent.newest(maxRecent)
	l.mu.Unlock()
	for i, line := range lines {
		if r, ok := parse(line); ok && from.admits(r.Time) && f.Matches(&r) {
			s.add(chosen{r.Time, 0, i, line})
		}
	}
	page := s.page(from)
	page.Kept = "memory"
	return page, ctx.Err()
}

// Live is a record as a subscriber gets it.
type Live struct {
	Line
	// Missed is how many came between the one before and this one that were left
	// out, since the subscriber did not take them in time.
	Missed int
}

// Subscription follows the records of a log as they are written.
type Subscription struct {
	// Before are the records that were newest when it began, the oldest first.
	Before []Line
	// C has those after. Up to 256 wait in it; those beyond are left out and counted
	// in the next that is not. It is never closed.
	C <-chan Live

	c      chan Live
	missed int // guarded by the log's mu
	log    *Log
}

// Subscribe begins to follow the log, with up to 1000 of the records before. What it
// gets is shared with others and not to be changed. Call Close. The error is
// ErrSubscribers.
func (l *Log) Subscribe(before int) (*Subscription, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.subscribers) >= maxSubscribers {
		return nil, ErrSubscribers
	}
	c := make(chan Live, maxWaiting)
	s := &Subscription{C: c, c: c, log: l}
	for _, line := range l.recent.newest(before) {
		if r, ok := parse(line); ok {
			s.Before = append(s.Before, Line{r, line})
		}
	}
	if l.subscribers == nil {
		l.subscribers = map[*Subscription]bool{}
	}
	l.subscribers[s] = true
	return s, nil
}

// Close ends the subscription. It may be called again.
func (s *Subscription) Close() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	delete(s.log.subscribers, s)
}

// tellSubscribers gives a record to all who follow and have room for it. Call it with
// mu held.
func (l *Log) tellSubscribers(r *Record, line []byte) {
	if len(l.subscribers) == 0 {
		return
	}
	shared := Line{r.clone(), bytes.Clone(line)}
	if r.Forecast != nil {
		f := r.Forecast.Clone()
		shared.Forecast = &f
	}
	for s := range l.subscribers {
		select {
		case s.c <- Live{shared, s.missed}:
			s.missed = 0
		default:
			s.missed++
		}
	}
}

// Missed is how many records since the last in C were left out.
func (s *Subscription) Missed() int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.missed
}
