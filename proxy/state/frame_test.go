package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestUnitLen(t *testing.T) {
	for _, n := range []int{0, 1, 1<<7 - 1, 1 << 7, 1<<14 - 1, 1 << 14, 1<<21 - 1, 1 << 21} {
		records := [][]byte{make([]byte, n), {}, make([]byte, 3)}
		if got, want := unitLen(records), len(mark{}.appendFrame(nil, records...))-frameLen; got != want {
			t.Errorf("%d bytes: %d, want %d", n, got, want)
		}
	}
}

// TestAHostileLength is not believed beyond the end of the file.
func TestAHostileLength(t *testing.T) {
	m := newMark()
	for _, n := range []uint32{5, maxUnit, maxUnit + 1, 1<<32 - 1} {
		frame := m.appendFrame(nil, []byte("abc"))
		binary.LittleEndian.PutUint32(frame[markLen:], n)
		file := m.appendFrame(frame, []byte("whole"))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		records, bad := frames(t, bytes.NewReader(file), m, int64(len(file)))
		runtime.ReadMemStats(&after)
		if diff := cmp.Diff([]string{"whole"}, records); diff != "" {
			t.Errorf("length %d: %s", n, diff)
		}
		if len(bad) != 1 || bad[0] != (span{0, int64(len(frame))}) {
			t.Errorf("length %d: damage %v", n, bad)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
			t.Errorf("length %d: %d bytes of memory", n, used)
		}
	}
}

// TestRecordsThatAreNone have a right checksum and are damage all the same.
func TestRecordsThatAreNone(t *testing.T) {
	m := newMark()
	for _, unit := range []string{"\x05abc", "\x80", "\x01a\x02b", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"} {
		frame := append(m.appendFrame(nil), unit...)
		binary.LittleEndian.PutUint32(frame[markLen:], uint32(len(unit)))
		binary.LittleEndian.PutUint32(frame[markLen+4:], frameSum(frame))
		file := m.appendFrame(bytes.Clone(frame), []byte("whole"))
		records, bad := frames(t, bytes.NewReader(file), m, int64(len(file)))
		if diff := cmp.Diff([]string{"whole"}, records); diff != "" || len(bad) != 1 {
			t.Errorf("unit %q: damage %v, %s", unit, bad, diff)
		}
	}
}

// TestFramesAcrossTheWindow are read in pieces of all sizes.
func TestFramesAcrossTheWindow(t *testing.T) {
	m := newMark()
	var file []byte
	var want []string
	for i := range 40 {
		record := bytes.Repeat([]byte{byte(i)}, windowed/16*(i%20)+i)
		file = m.appendFrame(file, record)
		file = append(file, m[:i%markLen]...) // nothing, or a mark that does not go on
		want = append(want, string(record))
	}
	for name, r := range map[string]io.Reader{
		"whole": bytes.NewReader(file), "halves": iotest.HalfReader(bytes.NewReader(file)), "with the end": iotest.DataErrReader(bytes.NewReader(file)),
	} {
		records, bad := frames(t, r, m, int64(len(file)))
		if !cmp.Equal(want, records) || len(bad) != 35 {
			t.Errorf("%s: %d records, %d places of damage", name, len(records), len(bad))
		}
	}
	_, bad := frames(t, bytes.NewReader(file[:1000]), m, int64(len(file))) // cut while it is read
	if len(bad) == 0 || bad[len(bad)-1].end != int64(len(file)) {
		t.Errorf("damage %v", bad)
	}
}

func TestAReaderThatFails(t *testing.T) {
	m := newMark()
	_, _, err := readFrames(iotest.ErrReader(io.ErrClosedPipe), m, 0, 100, func([]byte) error { return nil })
	wantError(t, err, io.ErrClosedPipe)
}

func frames(t testing.TB, r io.Reader, m mark, size int64) (records []string, bad []span) {
	t.Helper()
	bad, _, err := readFrames(r, m, 0, size, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return records, bad
}

// FuzzFrames reads any bytes: what is restored are units that stand there with
// a right checksum, in order, and the damage is all the rest.
func FuzzFrames(f *testing.F) {
	m := mark{'f', 'r', 'a', 'm', 'e', 's', 0, 1}
	two := m.appendFrame(m.appendFrame(nil, []byte("first"), nil), []byte("second"))
	f.Add([]byte(nil))
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add(two[1:])
	f.Add(append(bytes.Clone(m[:]), two...))
	f.Add(m.appendFrame(nil, two))
	f.Add(m.appendFrame(nil))
	f.Add(append(m[:], 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, bad := frames(t, iotest.OneByteReader(bytes.NewReader(b)), m, int64(len(b)))
		var again []string
		at := int64(0)
		for _, s := range append(bad, span{int64(len(b)), int64(len(b))}) {
			if s.begin < at || s.end < s.begin {
				t.Fatalf("damage %v", bad)
			}
			for whole := b[at:s.begin]; len(whole) > 0; {
				n := frameLen + int(binary.LittleEndian.Uint32(whole[markLen:]))
				frame := whole[:n]
				if !bytes.HasPrefix(frame, m[:]) || binary.LittleEndian.Uint32(frame[markLen+4:]) != frameSum(frame) {
					t.Fatalf("%q is taken for whole", frame)
				}
				_, _ = eachRecord(frame[frameLen:], func(r []byte) error {
					again = append(again, string(r))
					return nil
				})
				whole = whole[n:]
			}
			at = s.end
		}
		if diff := cmp.Diff(again, records); diff != "" {
			t.Fatalf("records: %s", diff)
		}
	})
}

// FuzzFile starts with any bytes as a log, a snapshot or a secret. Whatever they
// are, they are restored, refused or set aside, and then the directory is
// usable.
func FuzzFile(f *testing.F) {
	m := mark{1, 2, 3, 4, 5, 6, 7, 8}
	names := []string{"x.3.log", "x.3.snapshot", "x.secret"}
	for i, h := range []header{
		{kind: logKind, gen: 3, mark: m, name: "x"},
		{kind: snapshotKind, gen: 3, mark: m, name: "x"},
		{kind: secretKind, mark: m, name: "x"},
		{kind: logKind, gen: 3, mark: m, name: "x", gap: true},
	} {
		b := m.appendFrame(h.bytes(), []byte("record"), []byte("another"))
		for _, seed := range [][]byte{b, m.appendFrame(b), b[:len(b)-3], b[headerLen:], append(make([]byte, headerLen), b[headerLen:]...)} {
			f.Add(byte(i%len(names)), seed)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		startWith(t, names[int(which)%len(names)], b)
	})
}

func startWith(t *testing.T, name string, b []byte) {
	dir := t.TempDir()
	write(t, in(dir, versionName), []byte(versionText))
	write(t, in(dir, name), b)
	d := open(t, dir, Options{})
	defer d.Close()
	var records []string
	l, err := d.Log("x", LogOptions{}, func(record []byte) error {
		records = append(records, string(record))
		return nil
	})
	_, _, secretErr := d.Secret("x")
	if err != nil || secretErr != nil {
		if got := read(t, in(dir, name)); !bytes.Equal(got, b) {
			t.Fatalf("refused (%v, %v), and changed", err, secretErr)
		}
		return
	}
	for _, r := range records {
		if !bytes.Contains(b, []byte(r)) {
			t.Fatalf("%q is not in the file", r)
		}
	}
	commit(t, l, "new")
	_ = d.Close()
	got, _ := restored(t, dir, "x")
	if diff := cmp.Diff(append(records, "new"), got); diff != "" {
		t.Fatal(diff)
	}
	for _, g := range d.Damage() {
		if g.Err != nil || g.SetAside == "" && g.Bytes > 0 {
			t.Fatal(fmt.Sprint(g))
		}
	}
}
