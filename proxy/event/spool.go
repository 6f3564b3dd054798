package event

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	leastSegment = 64 << 10
	mostSegment  = 4 << 20
	maxPending   = 8 << 20 // bytes that wait for the disk
	spoolRetry   = 5 * time.Second
	probeName    = "probe" // of a file that is there for a moment
)

var errSpool = errors.New("the spool does not take records: they are kept in memory")

// spool is a queue on disk: for each lane a chain of segments, which are written at
// one end and deleted at the other. It is safe for concurrent use, but load and
// done are for one goroutine.
type spool struct {
	dir     string
	limit   int64 // bytes of all segments
	segment int64 // bytes after which a segment is full
	lastSeq uint64

	wake  chan struct{} // the writer's; holds one
	ended chan struct{}
	queue *queue      // has what is not written; nil before start
	tell  func(error) // is told when the disk takes nothing, and with nil that it does again

	mu      sync.Mutex
	chains  [laneCount]chain
	pending [laneCount][]item
	waiting int64  // bytes pending
	added   uint64 // records
	settled uint64 // of them, as many as were written or given up
	spilled uint64 // the last that was given up
	changed chan struct{}
	failed  error
	retry   time.Time
	closed  bool
}

// openSpool opens the directory, which must be there and is the spool's alone.
// damaged is told what could not be read and was set aside.
func openSpool(dir string, limit int64, damaged func(string)) (*spool, error) {
	s := &spool{
		dir: dir, limit: limit, segment: min(max(limit/64, leastSegment), mostSegment),
		wake: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	for l := range s.chains {
		c := &s.chains[l]
		c.lane, c.dir = lane(l), dir
		last, err := c.restore(damaged)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("events in %s: %w", dir, err), s.closeFiles())
		}
		s.lastSeq = max(s.lastSeq, last)
	}
	return s, nil
}

// start begins to write for a queue.
func (s *spool) start(q *queue) {
	s.queue = q
	s.mu.Lock()
	s.tellLost()
	s.makeRoom()
	s.mu.Unlock()
	go s.write()
}

// append takes a record to be written, unless the disk does not take any. It does
// not wait.
func (s *spool) append(i item) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.waiting+i.size() > maxPending || s.failed != nil && time.Now().Before(s.retry) {
		return false
	}
	s.pending[i.lane] = append(s.pending[i.lane], i)
	s.waiting += i.size()
	s.added++
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

// position is behind what was appended so far.
func (s *spool) position() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.added
}

// write is the writer: what was appended since its last write goes together. Where the
// disk takes nothing it is tried again by and by.
func (s *spool) write() {
	defer close(s.ended)
	for open := true; open; {
		var again <-chan time.Time
		if s.err() != nil {
			again = time.After(spoolRetry)
		}
		select {
		case _, open = <-s.wake:
		case <-again:
		}
		s.flush()
	}
}

// flush writes what was appended, and what is in memory because the disk did not take it.
func (s *spool) flush() {
	failure := s.secure()
	unwritten := s.queue.unload()
	s.mu.Lock()
	pending, upto, size, failed := s.pending, s.added, s.waiting, s.failed
	s.pending = [laneCount][]item{}
	s.mu.Unlock()
	var spilled []item
	n := 0
	for l := range pending {
		items := append(unwritten[l], pending[l]...)
		inOrder(items)
		n += len(items)
		rest, err := s.chains[l].write(&s.mu, items, s.segment)
		if err != nil {
			failure = err
			spilled = append(spilled, rest...)
		}
	}
	if n == 0 && failed != nil && failure == nil {
		failure = s.probe()
	}
	if len(spilled) > 0 {
		s.queue.spill(spilled)
	}
	s.settle(size, upto, failure)
	if s.tell != nil && (failed == nil) != (failure == nil) {
		s.tell(failure)
	}
}

// settle notes what became of a flush: of so many bytes, up to a position.
func (s *spool) settle(size int64, upto uint64, failure error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting -= size
	s.settled = upto
	if s.failed = failure; failure != nil {
		s.spilled, s.retry = upto, time.Now().Add(spoolRetry)
	}
	s.makeRoom()
	s.tellLost()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
	s.queue.signal()
}

// secure writes what is on its way and nowhere but in memory. It comes once more then,
// unless a kill comes first.
func (s *spool) secure() (failure error) {
	for l, items := range s.queue.unsecured() {
		rest, err := s.chains[l].write(&s.mu, items, s.segment)
		if err != nil {
			failure = err
			s.queue.unsecure(rest)
		}
	}
	return failure
}

// probe writes something that nobody needs, to see whether the disk takes it.
func (s *spool) probe() error {
	path := filepath.Join(s.dir, probeName)
	if err := removeFile(path); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4<<10))
	return errors.Join(err, f.Close(), removeFile(path))
}

// commit waits until what was appended up to the position will be there after the
// death of the process.
func (s *spool) commit(ctx context.Context, position uint64) error {
	for {
		s.mu.Lock()
		settled, spilled := s.settled >= position, s.spilled >= position
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		switch {
		case settled && spilled:
			return errSpool
		case settled:
			return nil
		}
		select {
		case <-changed:
		case <-s.ended:
			return errClosed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// makeRoom deletes the oldest segments, those of the least worth first. s.mu is
// held.
func (s *spool) makeRoom() {
	for l := range s.chains {
		c := &s.chains[l]
		for s.used() > s.limit && len(c.segments) > 0 {
			if lost := c.dropOldest(); lost > 0 {
				s.queue.drop(c.lane, full, lost)
			}
		}
	}
}

// tellLost tells of what is gone with a file, or cannot be read. s.mu is held.
func (s *spool) tellLost() {
	for l := range s.chains {
		if c := &s.chains[l]; c.lost > 0 {
			s.queue.drop(c.lane, unreadable, c.lost)
			c.lost = 0
		}
	}
}

// gone is how many records, of these and of those read ahead, are on disk no more, since
// there was no room for their files while they waited to be delivered.
func (s *spool) gone(items []item) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.chains {
		ahead := &s.chains[l].ahead
		items = slices.Concat(items, ahead.items[ahead.head:])
	}
	for _, i := range items {
		isIts := func(g *segment) bool { return g.id == i.end.segment }
		if i.end != (place{}) && !slices.ContainsFunc(s.chains[i.lane].segments, isIts) {
			n++
		}
	}
	return n
}

func (s *spool) used() (n int64) {
	for l := range s.chains {
		n += s.chains[l].used()
	}
	return n
}

// size is how many records can be read, and the bytes of the files.
func (s *spool) size() (records int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.chains {
		records += s.chains[l].unread()
	}
	return records, s.used()
}

// err is not nil while the disk takes nothing.
func (s *spool) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// load reads ahead, so that oldest knows the first record of every lane.
func (s *spool) load() error {
	for l := range s.chains {
		if err := s.chains[l].load(&s.mu); err != nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tellLost()
			return fmt.Errorf("events in %s: %w", s.dir, err)
		}
	}
	return nil
}

// oldest is the oldest record that was read and not taken; nil if there is none.
func (s *spool) oldest() *item {
	var first *item
	for l := range s.chains {
		if a := &s.chains[l].ahead; a.len() > 0 && (first == nil || a.front().seq < first.seq) {
			first = a.front()
		}
	}
	return first
}

// pop takes the oldest record of a lane.
func (s *spool) pop(l lane) item {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chains[l].buffered--
	return s.chains[l].ahead.pop()
}

// done deletes what of the segments was delivered, and remembers how far that is.
func (s *spool) done(items []item) error {
	var last [laneCount]place
	for _, i := range items {
		if last[i.lane].before(i.end) {
			last[i.lane] = i.end
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for l := range s.chains {
		if last[l] != (place{}) {
			errs = append(errs, s.chains[l].done(last[l]))
		}
	}
	return errors.Join(errs...)
}

// close writes what is pending and closes the files.
func (s *spool) close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	if s.queue != nil {
		close(s.wake)
		<-s.ended
	}
	return s.closeFiles()
}

func (s *spool) closeFiles() error {
	var errs []error
	for l := range s.chains {
		errs = append(errs, s.chains[l].close())
	}
	return errors.Join(errs...)
}

// removeFile removes a file, which may be gone.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
