package state

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// world is a log and what is known of it: a map of small keys, since a record
// says what a key is now.
type world struct {
	t    *rapid.T
	dir  string
	d    *Dir
	l    *Log
	o    Options
	next int

	state    map[string]string // as the caller has it
	appended map[string]bool   // every record there ever was
	last     Position
	harmed   bool // since the last compaction
}

// TestModel appends, commits, compacts, fails, restarts and damages at random,
// and expects what is restored to be what a map in memory says.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "state")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		w := &world{
			t: t, dir: dir, state: map[string]string{}, appended: map[string]bool{},
			o: Options{Sync: rapid.SampledFrom([]Sync{SyncInterval, SyncAlways, SyncNever}).Draw(t, "sync")},
		}
		w.start()
		defer func() { _ = w.d.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"append":  func(t *rapid.T) { w.append() },
			"commit":  func(t *rapid.T) { w.commit() },
			"compact": func(t *rapid.T) { w.compact(rapid.Bool().Draw(t, "appends meanwhile")) },
			"fail":    func(t *rapid.T) { w.fail() },
			"restart": func(t *rapid.T) { w.restart(nil) },
			"cut":     func(t *rapid.T) { w.restart(cutTail) },
			"flip":    func(t *rapid.T) { w.restart(flipByte) },
		})
	})
}

func (w *world) append() {
	var unit []string
	for range rapid.IntRange(1, 3).Draw(w.t, "records") {
		w.next++
		key := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(w.t, "key")
		value := fmt.Sprint(w.next, " ", string(make([]byte, rapid.IntRange(0, 300).Draw(w.t, "padding"))))
		unit = append(unit, key+value)
		w.state[key] = value
		w.appended[key+value] = true
	}
	if rapid.Bool().Draw(w.t, "writes itself") {
		w.last = w.l.Add(bytesOf(unit...)...)
		w.l.Write(w.last)
		return
	}
	w.last = w.l.Append(bytesOf(unit...)...)
}

func (w *world) commit() {
	if err := w.l.Commit(w.t.Context(), w.last); (err != nil) != (w.l.Err() != nil) {
		w.t.Fatalf("commit: %v, and the log: %v", err, w.l.Err())
	}
}

func (w *world) compact(meanwhile bool) {
	err := w.l.Compact(func(write func([]byte) error) error {
		for _, key := range []string{"a", "b", "c"} {
			if meanwhile {
				w.append()
			}
			if value, ok := w.state[key]; ok {
				if err := write([]byte(key + value)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit()
	if err := w.l.Err(); err != nil {
		w.t.Fatalf("not healed: %v", err)
	}
	w.harmed = false
}

// fail lets the log fail as a disk would.
func (w *world) fail() {
	w.commit()
	w.l.mu.Lock()
	w.l.fail(errStalled)
	w.l.mu.Unlock()
	w.append()
	w.commit()
}

// restart closes the log, healed, and starts again. If a byte was flipped in
// between, that is told; if a file was cut, that may have been at the end of a
// record.
func (w *world) restart(harm func(t *rapid.T, b []byte) []byte) {
	if w.l.Err() != nil {
		w.compact(false)
	}
	if err := w.d.Close(); err != nil {
		w.t.Fatal(err)
	}
	if harm == nil {
		before := w.state
		w.start()
		if diff := cmp.Diff(before, w.state); diff != "" {
			w.t.Fatalf("restored (-want +got):\n%s", diff)
		}
		return
	}
	again := w.harmed // so that a flip may have mended an earlier one
	changed := w.harm(harm)
	w.start()
	if changed && !again && len(w.d.Damage()) == 0 {
		w.t.Fatal("the damage was not told")
	}
}

// harm changes one log and returns whether it is as long as before and another.
func (w *world) harm(harm func(t *rapid.T, b []byte) []byte) bool {
	logs, err := filepath.Glob(in(w.dir, "*.log"))
	if err != nil {
		w.t.Fatal(err)
	}
	path := rapid.SampledFrom(logs).Draw(w.t, "file")
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	after := harm(w.t, bytes.Clone(b))
	if err := os.WriteFile(path, after, fileMode); err != nil {
		w.t.Fatal(err)
	}
	w.harmed = true
	return len(after) == len(b) && !bytes.Equal(after, b)
}

func cutTail(t *rapid.T, b []byte) []byte {
	return b[:len(b)-rapid.IntRange(0, len(b)).Draw(t, "cut")]
}

func flipByte(t *rapid.T, b []byte) []byte {
	if len(b) > 0 {
		b[rapid.IntRange(0, len(b)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	}
	return b
}

// start restores. Whatever was harmed, only records that were appended are
// restored; and without harm no damage is told of.
func (w *world) start() {
	d, err := Open(w.t.Context(), w.dir, w.o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.d, w.last, w.state = d, 0, map[string]string{}
	w.l, err = d.Log("model", LogOptions{}, func(record []byte) error {
		if !w.appended[string(record)] {
			return fmt.Errorf("%q was never appended", record)
		}
		w.state[string(record[:1])] = string(record[1:])
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if len(d.Damage()) > 0 && !w.harmed {
		w.t.Fatalf("damage: %v", d.Damage())
	}
}
