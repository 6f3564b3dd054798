package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

const (
	headerLen = 64
	nameLen   = 28
	magic     = "pgstate\n"
)

// kind is what a file is for.
type kind byte

const (
	logKind kind = iota + 1
	snapshotKind
	secretKind
)

// String is how the names of such files end.
func (k kind) String() string {
	switch k {
	case logKind:
		return "log"
	case snapshotKind:
		return "snapshot"
	case secretKind:
		return "secret"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// header is what a file begins with.
type header struct {
	kind kind
	gap  bool
	gen  uint64
	mark mark
	name string
}

func (h header) bytes() []byte {
	b := make([]byte, headerLen)
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	b[12] = byte(h.kind)
	if h.gap {
		b[13] = 1
	}
	binary.LittleEndian.PutUint64(b[16:], h.gen)
	copy(b[24:], h.mark[:])
	copy(b[32:32+nameLen], h.name)
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

// parseHeader returns false if the header is not whole, and an error if it is
// but of another version.
func parseHeader(b []byte) (header, bool, error) {
	if len(b) < headerLen || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[60:]) != crc32.Checksum(b[:60], castagnoli) {
		return header{}, false, nil
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return header{}, true, fmt.Errorf("%w: the file is of version %d, this pushguard knows %d", ErrVersion, v, version)
	}
	return header{
		kind: kind(b[12]),
		gap:  b[13] == 1,
		gen:  binary.LittleEndian.Uint64(b[16:]),
		mark: mark(b[24:32]),
		name: string(bytes.TrimRight(b[32:32+nameLen], "\x00")),
	}, true, nil
}

// is returns an error if the header belongs to another file than the one of
// that kind, name and generation.
func (h header) is(k kind, name string, gen uint64) error {
	if h.kind != k || h.name != name || h.gen != gen {
		return fmt.Errorf("this is the %v of %q in generation %d: it was put here under another name", h.kind, h.name, h.gen)
	}
	return nil
}
