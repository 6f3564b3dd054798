package state

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"
)

var (
	errStalled  = errors.New("the disk does not keep up")
	errTooLarge = errors.New("the records of one append are too large")
)

// LogOptions bound a log. The zero value is usable.
type LogOptions struct {
	// MaxPending is how many bytes may wait for the disk; with more the log
	// fails. 0 means 64 MiB.
	MaxPending int
	// CompactAfter is how many bytes are appended before a compaction is worth
	// it, however small the last one was. 0 means 16 MiB.
	CompactAfter int64
}

// Position is a place in a log: behind everything appended until it was
// returned. The zero value is the beginning, which is always committed.
type Position uint64

// never is the position of what was appended after Close.
const never Position = math.MaxUint64

// maxSpare is how large a buffer is kept for the next batch.
const maxSpare = 1 << 20

// Log is an append-only log of records. It is safe for concurrent use.
type Log struct {
	dir  *Dir
	name string
	o    LogOptions
	mark mark

	wake chan struct{} // the writer; holds one
	due  chan struct{} // the caller; holds one
	stop chan struct{}
	done sync.WaitGroup // writer and watcher

	compacting sync.Mutex // held by Compact; guards gen
	gen        uint64     // the newest

	io sync.Mutex // held while file is written or replaced; taken before mu

	mu       sync.Mutex
	file     *os.File // the newest log; nil if there is none since a failure
	files    []*source
	damaged  bool  // some of files are
	base     int64 // bytes of the snapshot among files
	dirty    bool  // file was written since the last sync
	pending  []byte
	spare    []byte
	inFlight int // bytes the writer is writing

	appended  Position
	written   Position // as far as the files have it
	committed Position // as far as it will be restored
	changed   chan struct{}

	failed  error
	healing bool // a compaction is under way that will end the failure
	closed  bool
	ended   bool          // the writer has
	pause   time.Duration // between compactions that fail
	retry   time.Time     // no sooner is the next one due
}

// Log opens the log of that name, or makes it: at most 28 of a-z, 0-9, _ and -,
// a letter first. A log is opened once.
//
// Before it returns, restore is called for each record that is whole, in the
// order of the log, with bytes that it may keep only as a copy. If restore
// fails, so does Log, and no file was changed. A log that can be read but not
// written, because the disk is full, is opened and has failed: see Err.
func (d *Dir) Log(name string, o LogOptions, restore func(record []byte) error) (*Log, error) {
	if o.MaxPending <= 0 {
		o.MaxPending = 64 << 20
	}
	if o.CompactAfter <= 0 {
		o.CompactAfter = 16 << 20
	}
	l := &Log{
		dir: d, name: name, o: o,
		wake: make(chan struct{}, 1), due: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	if err := d.reserve(name); err != nil {
		return nil, fmt.Errorf("state: log %.40q: %w", name, err)
	}
	err := l.restore(restore)
	if err == nil {
		err = d.add(l)
	}
	if err != nil {
		d.mu.Lock()
		delete(d.logs, name)
		d.mu.Unlock()
		return nil, fmt.Errorf("state: log %s: %w", name, err)
	}
	return l, nil
}

// Has reports whether there is anything of a log of that name, which is not opened.
func (d *Dir) Has(name string) bool {
	sources, _, _, err := (&Log{dir: d, name: name}).find()
	return err == nil && len(sources) > 0
}

// reserve keeps a name for one log.
func (d *Dir) reserve(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	if _, ok := d.logs[name]; ok {
		return errors.New("it is open already")
	}
	d.logs[name] = nil
	return nil
}

// add starts a log that was restored.
func (d *Dir) add(l *Log) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return ErrClosed
	}
	l.start()
	d.logs[l.name] = l
	return nil
}

func (l *Log) start() {
	if l.mark == (mark{}) {
		l.mark = newMark()
	}
	for _, s := range l.files {
		if s.kind == snapshotKind {
			l.base = s.size
		}
	}
	err := l.syncRestored()
	file, s, failed := l.create(false)
	l.mu.Lock()
	if failed == nil {
		l.file, l.files = file, append(l.files, s)
	}
	if err = errors.Join(err, failed); err != nil {
		l.fail(err)
	}
	l.remind()
	l.mu.Unlock()
	l.done.Add(2)
	go l.write()
	go l.watch()
}

// syncRestored syncs what was restored: a process that died may not have done so, and the
// loss of power could cost that, but not what comes after it.
func (l *Log) syncRestored() error {
	for _, s := range l.files {
		f, err := openRead(s.path)
		if err == nil {
			err = errors.Join(f.Sync(), f.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// create begins a generation with an empty log.
func (l *Log) create(gap bool) (*os.File, *source, error) {
	l.gen++
	h := header{kind: logKind, gap: gap, gen: l.gen, mark: l.mark, name: l.name}
	path := l.path(logKind)
	f, err := createFile(path, h.bytes())
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close(), os.Remove(path))
	}
	return f, &source{path: path, kind: logKind, gen: l.gen, info: info, size: headerLen}, nil
}

func (l *Log) path(k kind) string {
	return filepath.Join(l.dir.path, fmt.Sprintf("%s.%d.%v", l.name, l.gen, k))
}

// Append appends the records, which are restored all or not at all. It never
// waits for the disk and does not fail: whether the records are safe is what
// Commit says of the position. If they are over 64 MiB the log fails. They may
// be changed once Append returned.
func (l *Log) Append(records ...[]byte) Position { return l.append(true, records) }

// Add is Append for who calls Write or Commit next: until somebody does, or something
// else is appended, the writer is left asleep.
func (l *Log) Add(records ...[]byte) Position { return l.append(false, records) }

func (l *Log) append(wakes bool, records [][]byte) Position {
	n := unitLen(records)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return never
	}
	if len(records) == 0 {
		return l.appended
	}
	l.appended++
	switch {
	case l.failed != nil && !l.healing: // what the caller has in memory will be compacted
	case n > maxUnit:
		l.fail(fmt.Errorf("%w: %d bytes, limit %d", errTooLarge, n, maxUnit))
	case len(l.pending)+l.inFlight+frameLen+n > l.o.MaxPending:
		l.fail(fmt.Errorf("%w: over %d bytes wait for it", errStalled, l.o.MaxPending))
	default:
		l.pending = l.mark.appendFrame(l.pending, records...)
		if wakes {
			l.rouse()
		}
	}
	return l.appended
}

// Commit waits until everything up to the position will be restored after the
// death of the process and, with SyncAlways, after the loss of power. It
// returns the error of ctx if that ends first, what Err says if the log has
// failed, and ErrClosed for what was appended after Close. Once a compaction
// has healed the log, what was appended while it had failed is committed.
func (l *Log) Commit(ctx context.Context, p Position) error {
	for {
		l.mu.Lock()
		committed, err := p <= l.committed, l.failed
		if err == nil && (l.ended || p == never) {
			err = ErrClosed
		}
		changed := l.change()
		if !committed {
			l.rouse()
		}
		l.mu.Unlock()
		if committed {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// change returns a channel that is closed at the next announcement. l.mu is
// held.
func (l *Log) change() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

func (l *Log) announce() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// Err is not nil while what is appended is not written: the log has failed, and
// needs a Compact that succeeds.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// logLen is how many bytes the logs have that are restored after the snapshot. l.mu is
// held.
func (l *Log) logLen() int64 {
	var n int64
	for _, s := range l.files {
		if s.kind == logKind {
			n += s.size
		}
	}
	return n
}

// fail stops the writing. What is pending is in the caller's memory too. l.mu
// is held.
func (l *Log) fail(err error) {
	if l.failed == nil {
		l.failed = fmt.Errorf("state: log %s is not written: %w", l.name, err)
	}
	l.healing = false
	l.pending = nil
	l.announce()
	l.remind()
}

// close writes what is pending and ends the log.
func (l *Log) close() error {
	l.mu.Lock()
	l.rouse() // nobody does so from now on, and a compaction may wait for what is pending
	l.closed = true
	l.mu.Unlock()
	l.compacting.Lock()
	defer l.compacting.Unlock()
	l.mu.Lock()
	close(l.wake) // nobody sends once the log is closed
	close(l.due)
	l.mu.Unlock()
	close(l.stop)
	l.done.Wait()
	err := l.failed
	if l.file != nil {
		if failed := l.file.Sync(); err == nil {
			err = failed
		}
		_ = l.file.Close()
	}
	return err
}
