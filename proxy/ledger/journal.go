package ledger

import (
	"context"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

const (
	// logName is that of the log in the state directory.
	logName = "ledger"
	// touchEvery is for how many seconds the time of a push is good: it is kept so
	// much later than it was, and not kept again within them. So a restored group
	// is never older than it was.
	touchEvery = 60
	// bulk is how much a single change may write, in bytes. More is left to a
	// compaction.
	bulk = 8 << 20
	// retryBulk is how long that waits if it fails.
	retryBulk = 10 * time.Second
)

// journal is where a book writes what changes; nil writes nothing. It is used
// with the book locked, but for bulk.
type journal struct {
	log  *state.Log
	buf  []byte
	last state.Position
	more bool          // than a log takes at once has changed
	bulk chan struct{} // holds one: a compaction has to write it
}

// flush appends what was changed since the last one.
func (j *journal) flush() {
	if j == nil || len(j.buf) == 0 && !j.more {
		return
	}
	if j.more {
		j.more = false
		select {
		case j.bulk <- struct{}{}:
		default:
		}
	} else {
		j.last = j.log.Append(j.buf)
	}
	j.buf = j.buf[:0]
	if cap(j.buf) > bulk/8 {
		j.buf = nil
	}
}

// cut ends what is too much at once.
func (j *journal) cut() {
	if j.more = j.more || len(j.buf) > bulk; j.more {
		j.buf = j.buf[:0]
	}
}

// kept is what is known of a group that a record tells.
type kept struct {
	content                         holdings
	last                            writer
	slack                           uint32
	exists, unsure, failed, success bool
}

func (g *group) asKept() kept {
	return kept{g.content, g.last, g.slack, g.exists, g.unsure, g.failed, g.success}
}

func (k kept) equal(o kept) bool {
	if len(k.content) > 0 && len(o.content) > 0 && &k.content[0] == &o.content[0] {
		k.content = o.content[:len(k.content):len(k.content)]
	}
	return k.last == o.last && k.slack == o.slack && k.exists == o.exists && k.unsure == o.unsure &&
		k.failed == o.failed && k.success == o.success && slices.Equal(k.content, o.content)
}

// record writes what has changed of a group since before.
func (b *Book) record(g *group, before kept) {
	j := b.journal
	if j == nil {
		return
	}
	switch {
	case !g.exists && before.exists:
		j.buf = appendGone(j.buf, g, b.clock.at)
	case !g.exists:
	case g.kept == 0 || !before.equal(g.asKept()):
		g.kept = g.at + touchEvery
		j.buf = g.appendTo(j.buf)
	case g.at > g.kept && g.sums == nil:
		g.kept = g.at + touchEvery
		j.buf = appendTouched(j.buf, g)
	}
	j.cut()
}

// recordAccount writes what counts of the steps of a time.
func (b *Book) recordAccount(a *account, at int64) {
	if b.journal != nil {
		b.journal.buf = appendAccount(b.journal.buf, a, a.hour.step(hour, at), a.day.step(day, at))
	}
}

func (b *Book) recordEntry(e *entryAccount, at int64) {
	if b.journal != nil {
		b.journal.buf = appendEntry(b.journal.buf, e.id, e.newJobs.step(day, at))
	}
}

func (b *Book) recordWipe() {
	if b.journal != nil {
		b.journal.buf = appendWiped(b.journal.buf, b.clock.at)
	}
}

// Commit waits until all that was settled so far would be restored after the
// death of the process; see state.Log.Commit. A book that is not kept has nothing
// to wait for, nor has one that guards share. What was too much for the log at once
// waits for Run.
func (b *Book) Commit(ctx context.Context) error {
	if b.journal == nil {
		return nil
	}
	return b.journal.log.Commit(ctx, b.position())
}

// Write is Commit for who would rather write than wait; see state.Log.Write.
func (b *Book) Write() bool { return b.journal == nil || b.journal.log.Write(b.position()) }

// position is behind all that was settled so far.
func (b *Book) position() state.Position {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.journal.last
}

// Err is not nil while what is settled may not survive: the log has failed, and
// Run has not healed it yet.
func (b *Book) Err() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.log.Err()
}

// Run writes the log of a book anew whenever that is due, until its directory is
// closed. It is for a goroutine of its own. Failures are handed to report, and
// tried again. For a book that is not kept it returns at once.
func (b *Book) Run(report func(error)) {
	if b.journal == nil {
		return
	}
	var again <-chan time.Time
	for {
		isBulk := false
		select {
		case _, open := <-b.journal.log.Due():
			if !open {
				return
			}
		case <-b.journal.bulk:
			isBulk = true
		case <-again:
			isBulk = true
		}
		err := b.Compact()
		if err != nil {
			report(err)
		}
		if again = nil; err != nil && isBulk {
			again = time.After(retryBulk)
		}
	}
}

// Compact writes the log of a book anew. It heals one that has failed. Pushes go
// on meanwhile.
func (b *Book) Compact() error {
	if b.journal == nil {
		return nil
	}
	return b.journal.log.Compact(func(write func([]byte) error) error {
		s := transcript{book: b, write: write}
		return s.all()
	})
}

// transcript writes down a book, a piece at a time: it holds the lock only while it
// collects a piece.
type transcript struct {
	book  *Book
	write func([]byte) error
	unit  []byte
	err   error
}

// transcriptUnit is how large a piece is, about.
const transcriptUnit = 64 << 10

func (s *transcript) all() error {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	s.unit = appendKey(s.unit, b.hashKey.check())
	// A range over a map goes on after others have changed it in between.
	for _, table := range []map[string]*group{b.groups, b.totals} {
		for _, g := range table {
			for ; g != nil; g = g.twin {
				s.group(g)
			}
			if !s.rest(transcriptUnit) {
				return s.err
			}
		}
	}
	for _, j := range b.jobs {
		s.account(j.account)
	}
	for _, a := range b.idles.accounts {
		s.account(a)
	}
	for _, e := range b.entries {
		s.unit = appendEntry(s.unit, e.id, e.newJobs.ticks)
	}
	s.rest(0)
	return s.err
}

func (s *transcript) group(g *group) {
	if g.exists {
		g.kept = max(g.kept, g.at)
		s.unit = g.appendTo(s.unit)
	}
}

func (s *transcript) account(a *account) {
	if s.err == nil && !a.spent(s.book.clock.at) {
		s.unit = appendAccount(s.unit, a, a.hour.ticks, a.day.ticks)
		s.rest(transcriptUnit)
	}
}

// rest writes the unit, if it is longer than size, with the book unlocked. It
// reports whether that went well.
func (s *transcript) rest(size int) bool {
	if len(s.unit) > size && s.err == nil {
		s.book.mu.Unlock()
		s.err = s.write(s.unit)
		s.book.mu.Lock()
		s.unit = s.unit[:0]
	}
	return s.err == nil
}
