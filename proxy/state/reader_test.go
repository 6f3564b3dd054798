package state

import (
	"encoding/binary"
	"errors"
	"testing"
)

var errTorn = errors.New("torn")

func aRecord() []byte {
	b := []byte{7}
	b = binary.LittleEndian.AppendUint64(b, 1<<60)
	b = binary.AppendUvarint(b, 300)
	b = binary.AppendVarint(b, -300)
	b = append(binary.AppendUvarint(b, 3), "abc"...)
	return append(binary.AppendUvarint(b, 2), 1, 2, 3, 4)
}

type parts struct {
	b        byte
	word, u  uint64
	v        int64
	s        string
	n        uint64
	taken    string
	left     int
	isFailed bool
}

func readRecord(record []byte) parts {
	r := NewReader(record, errTorn)
	out := parts{b: r.Byte(), word: r.Word(), u: r.Uvarint(), v: r.Varint(), s: r.Text(), n: r.Count(2), taken: string(r.Take(4))}
	out.left, out.isFailed = r.Len(), errors.Is(r.Err(), errTorn)
	return out
}

// TestReader reads a record whole and cut at every length: what is there is read,
// and nothing after the cut.
func TestReader(t *testing.T) {
	record := aRecord()
	whole := parts{b: 7, word: 1 << 60, u: 300, v: -300, s: "abc", n: 2, taken: "\x01\x02\x03\x04"}
	if got := readRecord(record); got != whole {
		t.Errorf("got %+v, want %+v", got, whole)
	}
	if got := readRecord(append(record, 9)); got.left != 1 || got.isFailed {
		t.Errorf("with a byte more: %+v", got)
	}
	for n := range record {
		got := readRecord(record[:n])
		if !got.isFailed || got.taken != "" || got.left != 0 {
			t.Errorf("cut at %d: %+v", n, got)
		}
	}
}

// TestReaderCounts no more things than there are bytes for.
func TestReaderCounts(t *testing.T) {
	for size, want := range map[uint64]bool{1: true, 4: true, 5: false} {
		r := NewReader(append(binary.AppendUvarint(nil, 2), make([]byte, 8)...), errTorn)
		if n := r.Count(size); (n == 2) != want || (r.Err() == nil) != want {
			t.Errorf("2 of %d bytes in 8: %d, %v", size, n, r.Err())
		}
	}
	r := NewReader(binary.AppendUvarint(nil, 1<<63), errTorn)
	if n := r.Count(8); n != 0 || r.Err() == nil {
		t.Errorf("a count of 1<<63: %d, %v", n, r.Err())
	}
}
