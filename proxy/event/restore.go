package event

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// restore finds the segments of a lane and returns the highest sequence number.
// What is torn at the end of one was never committed and is cut off; what is
// corrupt is set aside and told of.
func (c *chain) restore(damaged func(string)) (last uint64, err error) {
	if err := c.readCursor(); err != nil {
		return 0, err
	}
	ids, err := c.find()
	if err != nil {
		return 0, err
	}
	c.nextID, c.full = c.cursor.segment+1, true
	for n, id := range ids {
		c.nextID = max(c.nextID, id+1)
		if id < c.cursor.segment {
			if err := removeFile(c.path(id)); err != nil {
				return 0, err
			}
			continue
		}
		s := &segment{id: id, path: c.path(id)}
		seq, err := c.scan(s, n == len(ids)-1, damaged)
		if err != nil {
			return 0, err
		}
		last = max(last, seq)
		if s.unread > 0 {
			c.segments = append(c.segments, s)
		} else if err := removeFile(s.path); err != nil {
			return 0, err
		}
	}
	c.read = c.cursor
	return last, nil
}

// find lists the segments that are there, the oldest first.
func (c *chain) find() ([]uint64, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), segmentExt)
		number, ours := strings.CutPrefix(name, c.lane.String()+"-")
		if !ok || !ours {
			continue
		}
		if id, err := strconv.ParseUint(number, 10, 63); err == nil {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (c *chain) readCursor() error {
	f, err := os.OpenFile(filepath.Join(c.dir, c.lane.String()+cursorExt), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var b [20]byte
	if n, _ := f.ReadAt(b[:], 0); n == len(b) && crc32.Checksum(b[:16], castagnoli) == binary.LittleEndian.Uint32(b[16:]) {
		c.cursor = place{binary.LittleEndian.Uint64(b[:]), int64(binary.LittleEndian.Uint64(b[8:]))}
	}
	// A torn one: what was delivered is sent again, by the same ids.
	return nil
}

// scan counts the records of a segment that were not delivered. Only the last one
// was being written when the process ended.
func (c *chain) scan(s *segment, last bool, damaged func(string)) (highest uint64, err error) {
	b, err := readWhole(s.path)
	if err != nil {
		return 0, err
	}
	if len(b) < len(segmentMagic) && last {
		return 0, nil // its making was cut off
	}
	if !bytes.HasPrefix(b, []byte(segmentMagic)) {
		c.lost += max(1, frames(b[min(len(segmentMagic), len(b)):], 0))
		return 0, setAside(s.path, "it is no segment", damaged)
	}
	at, delivered := int64(len(segmentMagic)), int64(0)
	if s.id == c.cursor.segment {
		delivered = c.cursor.offset
	}
	for {
		seq, _, n, err := parseFrame(b[at:])
		if err != nil {
			s.size = at
			if errors.Is(err, errShort) && (!last || !torn(b[at:])) {
				err = errCorrupt
			}
			if at < int64(len(b)) && errors.Is(err, errCorrupt) {
				c.lost += frames(b[at:], delivered-at)
			}
			return highest, cutOff(s, b, err, damaged)
		}
		at += int64(n)
		highest = seq
		if at > delivered {
			s.unread++
		}
	}
}

// frames is how many frames end behind the first so many bytes of b, as far as their
// lengths tell where they are not whole. What is no frame counts as one.
func frames(b []byte, behind int64) (n int) {
	for at := 0; at < len(b); {
		end := len(b)
		if left := b[at:]; len(left) >= frameHeader {
			size := int64(binary.LittleEndian.Uint32(left))
			if size > 0 && size <= int64(len(left)-frameHeader) { // no record is empty
				end = at + frameHeader + int(size)
			} else if n := behindDamage(left); n > 0 {
				end = at + n
			}
		}
		if at = end; int64(at) > behind {
			n++
		}
	}
	return n
}

// torn reports whether b, which ends before its first frame does, is the beginning of one
// that was being written. It is not where the frame is whole but for its length, or where
// another is behind it: then the length is damaged.
func torn(b []byte) bool {
	if len(b) < frameHeader {
		return true
	}
	sum, want := crc32.Checksum(b[8:frameHeader], castagnoli), binary.LittleEndian.Uint32(b[4:])
	for i := frameHeader; i < len(b); i++ {
		if sum = crc32.Update(sum, castagnoli, b[i:i+1]); sum == want {
			return false
		}
	}
	return behindDamage(b) == 0
}

// behindDamage is where behind the beginning of b a whole frame begins, 0 if none does.
func behindDamage(b []byte) int {
	for at := 1; at+frameHeader < len(b); at++ {
		if _, record, _, err := parseFrame(b[at:]); err == nil && len(record) > 0 {
			return at
		}
	}
	return 0
}

// readWhole reads a segment, which is at most a little longer than mostSegment.
func readWhole(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > mostSegment+2*maxRecord {
		return nil, fmt.Errorf("%s is no segment: %s of %d bytes", path, info.Mode(), info.Size())
	}
	b := make([]byte, info.Size())
	n, err := f.ReadAt(b, 0)
	if n == len(b) {
		err = nil
	}
	return b[:n], err
}

// cutOff ends a segment behind its whole frames. What was cut off by the end of the
// process is gone; anything else is kept beside it.
func cutOff(s *segment, b []byte, why error, damaged func(string)) error {
	if s.size == int64(len(b)) {
		return nil
	}
	if !errors.Is(why, errShort) {
		aside := s.path + damagedExt
		if err := os.WriteFile(aside, b[s.size:], fileMode); err != nil {
			return err
		}
		damaged(fmt.Sprintf("%s: %v at %d: %d bytes are set aside in %s", s.path, why, s.size, int64(len(b))-s.size, aside))
	}
	return os.Truncate(s.path, s.size)
}

func setAside(path, why string, damaged func(string)) error {
	aside := path + damagedExt
	if err := os.Rename(path, aside); err != nil {
		return err
	}
	damaged(fmt.Sprintf("%s: %s: it is set aside as %s", path, why, aside))
	return nil
}
