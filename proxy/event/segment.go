package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

// The files of a spool:
//
//	LANE-ID.events   a segment: 8 bytes of magic, then frames
//	LANE.cursor      how far a lane was delivered: ID and offset, 8 bytes each,
//	                 and the CRC-32C of these, 4 bytes
//	*.damaged        what of a segment was not whole
//
// A frame is the length of the record, 4 bytes, the CRC-32C of what follows it, 4
// bytes, the sequence number, 8 bytes, and the record. Numbers are little-endian.
const (
	segmentMagic = "pgevent1"
	segmentExt   = ".events"
	cursorExt    = ".cursor"
	damagedExt   = ".damaged"
	frameHeader  = 16
	maxRecord    = 1 << 20 // bytes; a bounded Record is far below
	readAhead    = 1 << 20
	fileMode     = 0o600
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// place is a place in a lane: a segment's id and an offset in it. The zero value
// is before all.
type place struct {
	segment uint64
	offset  int64
}

func (p place) before(o place) bool {
	return p.segment < o.segment || p.segment == o.segment && p.offset < o.offset
}

// segment is a file of a chain.
type segment struct {
	id     uint64
	path   string
	size   int64 // of what is whole
	unread int   // records that were not read yet
}

// chain are the segments of a lane. What can change from more than one goroutine
// is guarded by the lock of the spool; ahead is the reader's alone, file the
// writer's.
type chain struct {
	lane lane
	dir  string

	segments []*segment // the oldest first; the writer appends to the last
	nextID   uint64
	full     bool  // the last is not written to any more
	busy     bool  // the writer writes to the last
	buffered int   // records in ahead
	read     place // as far as the segments were read
	cursor   place // as far as they were delivered
	lost     int   // records that are gone with a file, or cannot be read, and nobody was told of
	kept     *os.File

	file  *os.File
	frame []byte
	ahead fifo
}

func appendFrame(dst []byte, i *item) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(i.json)))
	dst = append(dst, 0, 0, 0, 0)
	dst = binary.LittleEndian.AppendUint64(dst, i.seq)
	dst = append(dst, i.json...)
	binary.LittleEndian.PutUint32(dst[at+4:], crc32.Checksum(dst[at+8:], castagnoli))
	return dst
}

var (
	errShort   = errors.New("a frame is cut off")
	errCorrupt = errors.New("a frame is corrupt")
)

// parseFrame reads the frame that b begins with, and how long it is. The record
// points into b.
func parseFrame(b []byte) (seq uint64, record []byte, n int, err error) {
	if len(b) < frameHeader {
		return 0, nil, 0, errShort
	}
	size := binary.LittleEndian.Uint32(b)
	if size > maxRecord {
		return 0, nil, 0, errCorrupt
	}
	n = frameHeader + int(size)
	if len(b) < n {
		return 0, nil, 0, errShort
	}
	if crc32.Checksum(b[8:n], castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return 0, nil, 0, errCorrupt
	}
	return binary.LittleEndian.Uint64(b[8:]), b[frameHeader:n], n, nil
}

// write appends the items to the last segment, or begins one. On an error it returns
// those that are not there. Only the writer calls it, without the lock.
func (c *chain) write(mu *sync.Mutex, items []item, most int64) (rest []item, err error) {
	for len(items) > 0 {
		s, err := c.tail(mu, most)
		if err != nil {
			return items, err
		}
		n := 0
		c.frame = c.frame[:0]
		for n < len(items) && s.size+int64(len(c.frame)) < most {
			c.frame = appendFrame(c.frame, &items[n])
			n++
		}
		_, err = c.file.WriteAt(c.frame, s.size)
		mu.Lock()
		if c.busy = false; err == nil {
			s.size += int64(len(c.frame))
			s.unread += n
			if !slices.Contains(c.segments, s) { // the reader found its file gone
				c.lost += n
			}
		}
		mu.Unlock()
		if err != nil {
			_ = c.file.Truncate(s.size) // else what of it is there is found damaged at the next start
			return items, err
		}
		items = items[n:]
	}
	if cap(c.frame) > readAhead {
		c.frame = nil
	}
	return nil, nil
}

// tail is the segment to write to.
func (c *chain) tail(mu *sync.Mutex, most int64) (*segment, error) {
	mu.Lock()
	defer mu.Unlock()
	if s := c.last(); s != nil && !c.full && c.file != nil {
		switch {
		case c.removed(s):
			c.forget(s)
		case s.size < most:
			c.busy = true
			return s, nil
		}
	}
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
	s := &segment{id: c.nextID, path: c.path(c.nextID), size: int64(len(segmentMagic))}
	f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, err
	}
	c.nextID++
	if _, err := f.WriteString(segmentMagic); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(s.path))
	}
	c.file, c.full, c.busy, c.segments = f, false, true, append(c.segments, s)
	return s, nil
}

// last is the newest segment, nil if there is none.
func (c *chain) last() *segment {
	if len(c.segments) == 0 {
		return nil
	}
	return c.segments[len(c.segments)-1]
}

// removed reports whether somebody has removed the file of the segment that is open: what
// goes on to be written to that is nowhere. Only what is certain counts.
func (c *chain) removed(s *segment) bool {
	open, err := c.file.Stat()
	if err != nil {
		return false // the write will say so
	}
	there, err := os.Lstat(s.path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(open, there)
}

// forget leaves out a segment whose file is gone, and reports whether it had to.
func (c *chain) forget(s *segment) bool {
	at := slices.Index(c.segments, s)
	if at < 0 {
		return false
	}
	c.full = c.full || s == c.last() // the writer begins another
	c.segments = slices.Delete(c.segments, at, at+1)
	c.lost += s.unread
	return true
}

func (c *chain) path(id uint64) string {
	return filepath.Join(c.dir, fmt.Sprintf("%s-%d%s", c.lane, id, segmentExt))
}

func (c *chain) used() (n int64) {
	for _, s := range c.segments {
		n += s.size
	}
	return n
}

// unread is how many records were not taken yet.
func (c *chain) unread() int {
	n := c.buffered
	for _, s := range c.segments {
		n += s.unread
	}
	return n
}

// dropOldest deletes the oldest segment and returns how many of its records
// nobody has read. Those that were read are delivered still.
func (c *chain) dropOldest() int {
	s := c.segments[0]
	if len(c.segments) == 1 {
		c.full = true // the writer begins another
	}
	c.segments = c.segments[1:]
	_ = os.Remove(s.path) // one that stays is found at the next start
	return s.unread
}

// load reads ahead if nothing is left of what was read before.
func (c *chain) load(mu *sync.Mutex) error {
	mu.Lock()
	if c.buffered > 0 {
		mu.Unlock()
		return nil
	}
	var s *segment
	for _, each := range c.segments {
		if each.unread > 0 {
			s = each
			break
		}
	}
	if s == nil {
		mu.Unlock()
		return nil
	}
	at, end := int64(len(segmentMagic)), s.size
	if c.read.segment == s.id {
		at = c.read.offset
	}
	mu.Unlock()

	items, upto, err := readFrames(s, c.lane, at, end)
	mu.Lock()
	defer mu.Unlock()
	if errors.Is(err, os.ErrNotExist) {
		if !c.forget(s) {
			return nil // it was dropped meanwhile, and counted
		}
		return err
	}
	c.read = place{s.id, upto}
	s.unread -= len(items)
	if err != nil { // what is behind cannot be reached
		c.full = c.full || s == c.last()
		c.lost += s.unread
		s.unread = 0
	}
	for _, i := range items {
		c.ahead.push(i)
	}
	c.buffered = len(items)
	return err
}

// readFrames reads about a readAhead of frames.
func readFrames(s *segment, l lane, at, end int64) (items []item, upto int64, err error) {
	f, err := os.OpenFile(s.path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, at, err
	}
	defer f.Close()
	b := make([]byte, min(end-at, readAhead+maxRecord+frameHeader))
	if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, at, err
	}
	for begun := at; at < end && at-begun < readAhead; {
		seq, record, n, err := parseFrame(b)
		if err != nil {
			return items, at, fmt.Errorf("%s at %d: %w", s.path, at, err)
		}
		at += int64(n)
		items = append(items, item{seq: seq, lane: l, json: record, end: place{s.id, at}})
		b = b[n:]
	}
	return items, at, nil
}

// done remembers how far the lane was delivered, and deletes the segments before.
func (c *chain) done(upto place) error {
	for len(c.segments) > 0 {
		s := c.segments[0]
		whole := s.id < upto.segment || s.id == upto.segment && s.unread == 0 && upto.offset >= s.size
		last := len(c.segments) == 1
		if !whole || last && c.busy {
			break
		}
		c.full = c.full || last
		c.segments = c.segments[1:]
		if err := removeFile(s.path); err != nil {
			return err
		}
	}
	c.cursor = upto
	return c.keepCursor()
}

func (c *chain) keepCursor() error {
	if c.kept == nil {
		f, err := os.OpenFile(filepath.Join(c.dir, c.lane.String()+cursorExt), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
		if err != nil {
			return err
		}
		c.kept = f
	}
	b := binary.LittleEndian.AppendUint64(nil, c.cursor.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(c.cursor.offset))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	_, err := c.kept.WriteAt(b, 0)
	return err
}

func (c *chain) close() error {
	var errs []error
	for _, f := range []*os.File{c.file, c.kept} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	c.file, c.kept = nil, nil
	return errors.Join(errs...)
}
