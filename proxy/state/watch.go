package state

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// maxFiles is how many files a log may have before it is compacted, however
// small they are.
const maxFiles = 8

// Due returns a channel that gets a value when a Compact is due, again in every
// interval until one succeeds, and more and more rarely, but once a minute,
// while they fail. It is closed by Close. It is for one receiver.
func (l *Log) Due() <-chan struct{} { return l.due }

// NeedsCompact reports whether a Compact is due: the log has failed, was found
// damaged, or has grown over what its snapshot weighs and
// LogOptions.CompactAfter.
func (l *Log) NeedsCompact() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.needsCompact()
}

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
	if err != nil && file == l.file { // else a compaction has synced and closed it
		l.fail(err)
	}
}

// check fails a log whose files are no longer what would be restored.
func (l *Log) check() {
	l.mu.Lock()
	gen := l.files
	files := make([]source, 0, len(l.files))
	for _, s := range l.files {
		files = append(files, *s)
	}
	l.mu.Unlock()
	err := l.dir.owned()
	for i := range files {
		err = errors.Join(err, l.stillThere(&files[i]))
	}
	if err == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sameFiles(gen, l.files) {
		l.fail(err)
	}
}

// sameFiles reports whether no compaction took files away in between.
func sameFiles(before, now []*source) bool {
	return len(before) == 0 || len(now) > 0 && before[0] == now[0]
}

// stillThere returns an error if the file was removed, replaced or cut.
func (l *Log) stillThere(s *source) error {
	info, err := os.Lstat(s.path)
	switch {
	case err != nil:
		return err
	case !os.SameFile(info, s.info):
		return fmt.Errorf("%s was replaced", s.path)
	case info.Size() < s.size:
		return fmt.Errorf("%s was cut to %d bytes, it had %d", s.path, info.Size(), s.size)
	}
	return nil
}
