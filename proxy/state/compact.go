package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const (
	snapshotBuffer = 256 << 10
	// syncEvery keeps the last sync of a snapshot, for which the log may have
	// to wait, short.
	syncEvery = 16 << 20
	maxPause  = time.Minute
)

// ErrGrows is why a Compact failed of a log that is written all the same.
var ErrGrows = errors.New("grows, and is not compacted")

// Compact replaces what is in the log by the records that emit writes: the
// caller's state as it is in memory. Appends and commits go on meanwhile; what
// is appended after Compact began, and maybe some of what was appended just
// before, is restored after what emit wrote. So emit may read the state piece
// by piece, each piece at any moment of the call, under the lock that its
// changes and their appends share.
//
// A crash at any point restores either the old or the new. If emit or write
// fails, or anything else, the log is what it was and the error says why. If
// the log had failed, it is whole again once Compact returns nil. Only one
// Compact runs at a time, others wait.
func (l *Log) Compact(emit func(write func(record []byte) error) error) error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	err := l.compact(emit)
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.due: // of before, or of the very failure
	default:
	}
	if err == nil {
		l.pause, l.retry = 0, time.Time{}
		return nil
	}
	l.pause = min(max(2*l.pause, l.dir.o.Interval), maxPause)
	l.retry = time.Now().Add(l.pause)
	if l.failed == nil {
		return fmt.Errorf("state: log %s %w: %w", l.name, ErrGrows, err)
	}
	return fmt.Errorf("state: log %s is not compacted: %w", l.name, err)
}

func (l *Log) compact(emit func(write func(record []byte) error) error) error {
	if err := l.mayCompact(); err != nil {
		return err
	}
	heals, err := l.rotate()
	if err != nil {
		return err
	}
	s, err := l.snapshot(emit)
	if err == nil {
		err = l.settle(heals)
	}
	if err == nil {
		err = finish(s.path)
	}
	if err == nil {
		err = l.adopt(s, heals)
	}
	if err != nil {
		_ = os.Remove(l.path(snapshotKind) + tmp)
		_ = os.Remove(l.path(snapshotKind))
		if heals {
			l.giveUp()
		}
	}
	return err
}

// Discard removes the files of a log that has failed, for a caller who has nothing to
// keep: else what is in them would be restored, though Compact has no room to say that it
// is gone. The log has failed until Compact makes it whole. One that has not is left alone.
func (l *Log) Discard() error {
	l.compacting.Lock()
	defer l.compacting.Unlock()
	if err := l.mayCompact(); err != nil {
		return err
	}
	if l.Err() == nil {
		return nil
	}
	l.io.Lock()
	l.mu.Lock()
	file, files := l.file, l.files
	l.file, l.files, l.base, l.damaged = nil, nil, 0, false
	l.mu.Unlock()
	l.io.Unlock()
	if file != nil {
		_ = file.Close()
	}
	for i, each := range files { // the oldest first: nothing is to be restored that later ones replace
		if err := l.dir.drop(each); err != nil && !errors.Is(err, os.ErrNotExist) {
			l.mu.Lock()
			l.files = files[i:]
			l.mu.Unlock()
			return fmt.Errorf("state: log %s is not discarded: %w", l.name, err)
		}
	}
	return syncDir(l.dir.path)
}

func (l *Log) mayCompact() error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return l.dir.owned()
}

// rotate begins a generation: from now on appends go into a new log. If the log
// has failed, the new one is behind a gap and counts only with the snapshot.
func (l *Log) rotate() (heals bool, err error) {
	l.mu.Lock()
	heals = l.failed != nil
	old := l.file
	l.mu.Unlock()
	file, s, err := l.create(heals)
	if err != nil {
		return false, err
	}
	if !heals {
		err = old.Sync() // the most of it, while the writer may go on
	}
	l.io.Lock()
	defer l.io.Unlock()
	if !heals && err == nil { // the system says once what it could not write
		err = old.Sync() // else the loss of power could cost its end, but not what comes after it
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.fail(err)
	}
	if l.failed != nil && !heals {
		return false, errors.Join(l.failed, file.Close(), os.Remove(s.path))
	}
	if old != nil {
		_ = old.Close()
	}
	l.file, l.files, l.dirty = file, append(l.files, s), false
	if heals {
		l.healing, l.written = true, l.appended
	}
	return heals, nil
}

// snapshot writes what emit writes into a file that has no name yet.
func (l *Log) snapshot(emit func(write func(record []byte) error) error) (*source, error) {
	path := l.path(snapshotKind)
	f, err := createTmp(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := header{kind: snapshotKind, gen: l.gen, mark: l.mark, name: l.name}
	w := snapshotWriter{log: l, file: f, buf: h.bytes()}
	if err := emit(w.add); err != nil {
		return nil, err
	}
	w.buf = l.mark.appendFrame(w.buf)
	if err := w.flush(); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &source{path: path, kind: snapshotKind, gen: l.gen, info: info, size: info.Size()}, nil
}

// snapshotWriter writes records to a snapshot.
type snapshotWriter struct {
	log      *Log
	file     *os.File
	buf      []byte
	unsynced int
	err      error // the first
}

func (w *snapshotWriter) add(record []byte) error {
	if n := unitLen([][]byte{record}); n > maxUnit {
		w.err = errors.Join(w.err, fmt.Errorf("%w: %d bytes, limit %d", errTooLarge, n, maxUnit))
	}
	if w.err != nil {
		return w.err
	}
	w.buf = w.log.mark.appendFrame(w.buf, record)
	if len(w.buf) < snapshotBuffer {
		return nil
	}
	return w.flush()
}

// flush also ends the compaction of a log that is being closed.
func (w *snapshotWriter) flush() error {
	if w.err == nil {
		w.err = w.log.mayCompact()
	}
	if w.err == nil {
		_, w.err = w.file.Write(w.buf)
	}
	if w.unsynced += len(w.buf); w.err == nil && w.unsynced >= syncEvery {
		w.unsynced, w.err = 0, w.file.Sync()
	}
	w.buf = w.buf[:0]
	return w.err
}

// settle waits until everything that emit may have seen is in the new log, and
// synced. Else a crash could restore a part of an append: the part that emit
// had seen.
func (l *Log) settle(heals bool) error {
	l.mu.Lock()
	upto := l.appended
	for l.written < upto && l.usable(heals) == nil {
		changed := l.change()
		l.rouse()
		l.mu.Unlock()
		<-changed
		l.mu.Lock()
	}
	err, file := l.usable(heals), l.file
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.fail(err)
		return err
	}
	return nil
}

// usable returns why the log that the compaction began is not. l.mu is held.
func (l *Log) usable(heals bool) error {
	if heals && l.healing {
		return nil
	}
	return l.failed
}

// adopt makes the snapshot, which has its name now, what is restored, and
// drops what it replaces.
func (l *Log) adopt(s *source, heals bool) error {
	l.io.Lock()
	l.mu.Lock()
	if err := l.usable(heals); err != nil {
		l.mu.Unlock()
		l.io.Unlock()
		return err
	}
	last := len(l.files) - 1
	old := l.files[:last]
	l.files = []*source{s, l.files[last]}
	l.base, l.damaged = s.size, false
	if heals {
		l.healing, l.failed = false, nil
		l.committed = l.written
	}
	l.announce()
	l.mu.Unlock()
	l.io.Unlock()
	for _, each := range old {
		_ = l.dir.drop(each) // what stays is dropped by the next start
	}
	_ = syncDir(filepath.Dir(s.path))
	return nil
}

// giveUp takes back the log behind the gap, of which nothing was committed.
func (l *Log) giveUp() {
	l.io.Lock()
	defer l.io.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail(l.failed) // this ends the healing
	last := len(l.files) - 1
	_ = l.file.Close()
	_ = os.Remove(l.files[last].path)
	l.file, l.files = nil, l.files[:last]
}
