package state

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/bits"
)

// maxUnit is how many bytes the records of one Append may have together, each
// with its length of at most 5 bytes.
const maxUnit = 64 << 20

// MaxRecord is how long a record may be that is appended alone. A longer one fails its
// log, and would do so again with each compaction.
const MaxRecord = maxUnit - 5

const (
	markLen  = 8
	frameLen = markLen + 4 + 4 // before the unit
	windowed = 256 << 10       // bytes read at once
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark begins each frame of a log.
type mark [markLen]byte

func newMark() mark {
	var m mark
	_, _ = rand.Read(m[:]) // never fails
	return m
}

// unitLen is how long the unit of the records is.
func unitLen(records [][]byte) int {
	n := 0
	for _, r := range records {
		n += (bits.Len(uint(len(r))|1)+6)/7 + len(r)
	}
	return n
}

// appendFrame appends the records as one frame.
func (m mark) appendFrame(dst []byte, records ...[]byte) []byte {
	start := len(dst)
	dst = append(dst, m[:]...)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	for _, r := range records {
		dst = binary.AppendUvarint(dst, uint64(len(r)))
		dst = append(dst, r...)
	}
	frame := dst[start:]
	binary.LittleEndian.PutUint32(frame[markLen:], uint32(len(frame)-frameLen))
	binary.LittleEndian.PutUint32(frame[markLen+4:], frameSum(frame))
	return dst
}

func frameSum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:markLen+4], castagnoli), castagnoli, frame[frameLen:])
}

// eachRecord calls f for each record of a unit. It returns false, and calls f
// for none, if the unit is not made of records.
func eachRecord(unit []byte, f func(record []byte) error) (bool, error) {
	for rest := unit; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		if size <= 0 || n > uint64(len(rest)-size) {
			return false, nil
		}
		rest = rest[size+int(n):]
	}
	for rest := unit; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		end := size + int(n)
		if err := f(rest[size:end:end]); err != nil {
			return true, err
		}
		rest = rest[end:]
	}
	return true, nil
}

// scanner finds the whole frames in a file, whatever else is in it. It holds
// no more in memory than the longest frame.
type scanner struct {
	r    io.Reader
	mark mark
	at   int64  // where in the file the window begins
	end  int64  // of the file
	buf  []byte // the window is buf[from:to]
	from int
	to   int
}

// newScanner scans what r reads, which begins at the offset at of a file that
// ends at end.
func newScanner(r io.Reader, m mark, at, end int64) *scanner {
	return &scanner{r: io.LimitReader(r, end-at), mark: m, at: at, end: end, buf: make([]byte, windowed)}
}

// next returns the unit of the next whole frame, where the frame begins, and
// where it ends. What is between the end of one and the beginning of the next
// is not whole. At the end of the file the error is io.EOF. The unit holds
// until the next call.
func (s *scanner) next() (unit []byte, begin, end int64, err error) {
	for {
		frame, err := s.frame()
		if err != nil {
			return nil, 0, 0, err
		}
		if frame != nil {
			begin := s.at
			s.advance(len(frame))
			return frame[frameLen:], begin, s.at, nil
		}
		if err := s.skip(); err != nil {
			return nil, 0, 0, err
		}
	}
}

// frame returns the whole frame at the beginning of the window, or nil.
func (s *scanner) frame() ([]byte, error) {
	if ok, err := s.need(frameLen); !ok {
		return nil, err
	}
	head := s.buf[s.from:s.to]
	n := binary.LittleEndian.Uint32(head[markLen:])
	if !bytes.HasPrefix(head, s.mark[:]) || n > maxUnit {
		return nil, nil
	}
	if ok, err := s.need(frameLen + int(n)); !ok {
		return nil, err
	}
	frame := s.buf[s.from : s.from+frameLen+int(n)]
	if binary.LittleEndian.Uint32(frame[markLen+4:]) != frameSum(frame) {
		return nil, nil
	}
	return frame, nil
}

// skip goes on to the next mark in the window, or to where one might begin.
func (s *scanner) skip() error {
	if _, err := s.need(int(min(windowed, s.end-s.at))); err != nil {
		return err
	}
	window := s.buf[s.from:s.to]
	if len(window) == 0 {
		return io.EOF
	}
	n := bytes.Index(window[1:], s.mark[:]) + 1
	if n == 0 {
		n = max(1, len(window)-(markLen-1))
	}
	s.advance(n)
	return nil
}

func (s *scanner) advance(n int) {
	s.from += n
	s.at += int64(n)
}

// need reads until the window has n bytes. It returns false if the file ends
// before, and makes no room for what is not there.
func (s *scanner) need(n int) (bool, error) {
	have := s.to - s.from
	switch {
	case have >= n:
		return true, nil
	case int64(n) > s.end-s.at:
		return false, nil
	case n > len(s.buf):
		bigger := make([]byte, max(n, 2*len(s.buf)))
		copy(bigger, s.buf[s.from:s.to])
		s.buf, s.from, s.to = bigger, 0, have
	case n > len(s.buf)-s.from:
		copy(s.buf, s.buf[s.from:s.to])
		s.from, s.to = 0, have
	}
	k, err := io.ReadAtLeast(s.r, s.buf[s.to:], n-have)
	s.to += k
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil // somebody cut the file while it was read
	}
	return err == nil, err
}
