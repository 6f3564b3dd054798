package fleet

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/state"
)

const logName = "moved"

// recordAged is the first byte of a record: how old a group is that was moved.
const recordAged = 1

var errRecord = errors.New("a record of a moved group that cannot be read")

// aged is how old a group is that was moved, as long as its copy shows the time of the
// move: until it is pushed to.
type aged struct {
	stamp, was     float64 // of the copy, and of the group before
	pushed, failed time.Time
}

func agedAs(stamp float64, was gateway.Group) aged {
	return aged{stamp: stamp, was: was.Stamp, pushed: was.Pushed, failed: was.Failed}
}

// journal is where a fleet keeps how old moved groups are. A nil one keeps nothing. What
// it says of a group that was pushed to since, or is gone, is of a stamp that none has.
type journal struct{ log *state.Log }

// Open returns the fleet of these upstreams, with what the directory keeps from before:
// how old the groups are that were moved and not pushed to since. Without a directory it
// is New.
func Open(dir *state.Dir, cfg Config) (*Fleet, error) {
	f := New(cfg)
	if dir == nil {
		return f, nil
	}
	log, err := dir.Log(logName, state.LogOptions{}, f.apply)
	if err != nil {
		return nil, err
	}
	f.journal = &journal{log}
	return f, nil
}

// Err is not nil while what Move finds may not survive the process.
func (f *Fleet) Err() error {
	if f.journal == nil {
		return nil
	}
	return f.journal.log.Err()
}

// Run writes anew what is kept whenever that is due, until its directory is closed. It is
// for a goroutine of its own. Failures are handed to report, and tried again. For a fleet
// without a directory it returns at once.
func (f *Fleet) Run(report func(error)) {
	if f.journal == nil {
		return
	}
	for range f.journal.log.Due() {
		if err := f.journal.log.Compact(f.write); err != nil {
			report(err)
		}
	}
}

// write writes down all that is kept.
func (f *Fleet) write(write func(record []byte) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var record []byte
	for id, a := range f.aged {
		record = appendAged(record[:0], id, a)
		if err := write(record); err != nil {
			return err
		}
	}
	return nil
}

// keep has a group that was moved be as old as before, also for those who come later. The
// lock is held.
func (f *Fleet) keep(id string, a aged) {
	if was, ok := f.aged[id]; ok && was == a {
		return
	}
	f.aged[id] = a
	if f.journal != nil {
		f.journal.log.Append(appendAged(nil, id, a))
	}
}

// commit waits until what was kept so far survives the process. A disk that takes nothing
// stops no move: see Err.
func (f *Fleet) commit(ctx context.Context) {
	if f.journal != nil {
		_ = f.journal.log.Commit(ctx, f.journal.log.Append())
	}
}

func appendAged(dst []byte, id string, a aged) []byte {
	dst = append(binary.AppendUvarint(append(dst, recordAged), uint64(len(id))), id...)
	for _, stamp := range [...]float64{a.stamp, a.was} {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(stamp))
	}
	for _, t := range [...]time.Time{a.pushed, a.failed} {
		at := int64(0) // never
		if !t.IsZero() {
			at = t.UnixNano()
		}
		dst = binary.AppendVarint(dst, at)
	}
	return dst
}

// apply reads a record into a fleet that nobody uses yet. What cannot be read is left out:
// the group is then as young as its copy.
func (f *Fleet) apply(record []byte) error {
	r := state.NewReader(record, errRecord)
	if r.Byte() != recordAged {
		r.Fail()
	}
	id := r.Text()
	a := aged{stamp: math.Float64frombits(r.Word()), was: math.Float64frombits(r.Word())}
	for _, t := range [...]*time.Time{&a.pushed, &a.failed} {
		if at := r.Varint(); at != 0 {
			*t = time.Unix(0, at)
		}
	}
	if err := r.End(); err != nil {
		f.logger.Error("How old a moved group is cannot be read: it counts as pushed to when it was moved", "err", err)
		return nil
	}
	f.aged[id] = a
	return nil
}
