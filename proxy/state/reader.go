package state

import "encoding/binary"

// Reader reads the parts of a record, for those who write records of varints,
// words and strings. Once a part is not there as it should be, Err says so, and
// all that is read from then on is zero or empty. The zero value has nothing to
// read. Not safe for concurrent use.
type Reader struct {
	rest    []byte
	err     error
	damaged error
}

// NewReader reads a record; damaged is what Err is to be if it is that. What Take
// returns is memory of the record.
func NewReader(record []byte, damaged error) Reader { return Reader{rest: record, damaged: damaged} }

// Err is not nil once the record was found damaged.
func (r *Reader) Err() error { return r.err }

// End is Err where all is to have been read: a record of which something is left over
// is damaged, or of another version.
func (r *Reader) End() error {
	if len(r.rest) > 0 {
		r.Fail()
	}
	return r.err
}

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.rest) }

// Fail says that the record is damaged.
func (r *Reader) Fail() { r.rest, r.err = nil, r.damaged }

// Take returns the next n bytes.
func (r *Reader) Take(n uint64) []byte {
	if n > uint64(len(r.rest)) {
		r.Fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// Byte returns the next byte.
func (r *Reader) Byte() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Word returns the next 8 bytes, little-endian.
func (r *Reader) Word() uint64 {
	if b := r.Take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Uvarint returns the next varint, as encoding/binary writes it.
func (r *Reader) Uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Varint is Uvarint of a number that may be negative.
func (r *Reader) Varint() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.Fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Count returns a number of things to come, each of at least size bytes: no more
// than there are bytes for, so that memory may be made for them.
func (r *Reader) Count(size uint64) uint64 {
	n := r.Uvarint()
	if n > uint64(len(r.rest))/size {
		r.Fail()
		return 0
	}
	return n
}

// Text returns a string that has its length before it.
func (r *Reader) Text() string { return string(r.Take(r.Uvarint())) }
