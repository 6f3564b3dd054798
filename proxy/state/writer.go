package state

import "os"

// write is the writer: all that was appended since its last write goes in one.
func (l *Log) write() {
	defer l.done.Done()
	for range l.wake {
		l.flush()
	}
	l.flush()
	l.mu.Lock()
	l.ended = true
	l.announce()
	l.mu.Unlock()
}

func (l *Log) flush() {
	l.io.Lock()
	defer l.io.Unlock()
	l.flushed()
}

// flushed writes what is pending. l.io is held.
func (l *Log) flushed() {
	l.mu.Lock()
	batch, upto, file, healing := l.pending, l.appended, l.file, l.healing
	if len(batch) == 0 {
		l.mu.Unlock()
		return
	}
	l.pending, l.spare, l.inFlight = l.spare[:0], nil, len(batch)
	last := l.files[len(l.files)-1]
	l.mu.Unlock()

	err := l.put(file, last, batch)

	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight = 0
	if cap(batch) <= maxSpare {
		l.spare = batch[:0]
	}
	if err != nil {
		l.fail(err)
		return
	}
	last.size += int64(len(batch))
	l.dirty = true
	l.written = upto
	if !healing {
		l.committed = upto
	}
	l.announce()
	l.remind()
}

// put writes a batch whole, or takes back what was written of it.
func (l *Log) put(file *os.File, s *source, batch []byte) error {
	_, err := file.Write(batch)
	if err != nil {
		_ = file.Truncate(s.size) // else its end is found damaged, and is not missed
		return err
	}
	if l.dir.o.Sync != SyncAlways {
		return nil
	}
	// Not fdatasync: a longer file has to be written to the journal either way.
	if err := file.Sync(); err != nil {
		return err
	}
	return s.stillThere(s.size + int64(len(batch)))
}

// rouse has the writer write what is pending. l.mu is held.
func (l *Log) rouse() {
	if l.closed || len(l.pending) == 0 {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default: // it will find this too
	}
}

// Write is Commit for who would rather write than wait: if nobody else writes, it
// hands what was appended to the system, and it reports whether everything up to the
// position is committed. It waits for nobody, but like any write for a disk that is
// stalled; with SyncAlways it writes nothing. Where it reports false, Commit is to be
// called.
func (l *Log) Write(p Position) bool {
	if l.dir.o.Sync != SyncAlways && l.io.TryLock() {
		l.flushed()
		l.io.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return p <= l.committed
}
