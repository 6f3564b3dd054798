package state

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"
)

// maxFiles is how many files a log may have before it is compacted, however
// small they are.
const maxFiles = 8

// Due returns a channel that gets a value when a Compact is due, again in every
// interval until one succeeds, and more and more rarely, but once a minute,
// while they fail. It is closed by Close. It is for one receiver.
func (l *Log) Due() <-chan struct{} { return l.due }

// needsCompact reports whether a Compact is due: the log has failed, was found
// damaged, or has grown over what its snapshot weighs and
// LogOptions.CompactAfter. l.mu is held.
func (l *Log) needsCompact() bool {
	return l.failed != nil || l.damaged || len(l.files) > maxFiles || l.logLen() > max(l.base, l.o.CompactAfter)
}

// remind tells the receiver of Due what is due. l.mu is held.
func (l *Log) remind() {
	if l.closed || !l.needsCompact() || time.Now().Before(l.retry) {
		return
	}
	select {
	case l.due <- struct{}{}:
	default: // it has not been received yet
	}
}

// watch does what time asks for.
func (l *Log) watch() {
	defer l.done.Done()
	ticker := time.NewTicker(l.dir.o.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		l.sync()
		l.check()
		l.mu.Lock()
		l.remind()
		l.mu.Unlock()
	}
}

// sync is what SyncInterval promises. The writer goes on meanwhile.
func (l *Log) sync() {
	l.mu.Lock()
	file, dirty := l.file, l.dirty && l.dir.o.Sync == SyncInterval
	l.dirty = l.dirty && !dirty
	l.mu.Unlock()
	if !dirty || file == nil {
		return
	}
	err := file.Sync()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil && !errors.Is(err, os.ErrClosed) { // else a compaction has synced and closed it
		l.fail(err)
	}
}

// check fails a log whose files are no longer what would be restored. One that
// has failed is not looked at: a compaction makes new files for it.
func (l *Log) check() {
	l.mu.Lock()
	failed := l.failed != nil
	files := slices.Clone(l.files)
	sizes := make([]int64, len(files))
	for i, s := range files {
		sizes[i] = s.size
	}
	l.mu.Unlock()
	if failed {
		return
	}
	if err := l.dir.owned(); err != nil {
		l.mu.Lock()
		l.fail(err)
		l.mu.Unlock()
	}
	for i, s := range files {
		if err := s.stillThere(sizes[i]); err != nil {
			l.miss(s, err)
		}
	}
}

// miss fails the log if it still needs the file: a compaction may have dropped
// it.
func (l *Log) miss(s *source, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Contains(l.files, s) {
		l.fail(err)
	}
}

// stillThere returns an error if the file was removed, replaced, or cut to
// under size.
func (s *source) stillThere(size int64) error {
	info, err := os.Lstat(s.path)
	switch {
	case err != nil:
		return err
	case !os.SameFile(info, s.info):
		return fmt.Errorf("%s was replaced", s.path)
	case info.Size() < size:
		return fmt.Errorf("%s was cut to %d bytes, it had %d", s.path, info.Size(), size)
	}
	return nil
}
