package counter

import (
	"context"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

// logName is that of the log in the state directory.
const logName = "counters"

// Store is a book and totals that are kept in a state directory: what Commit
// returned without an error for survives as state.Log.Commit says, baselines and
// totals of a push both or neither.
type Store struct {
	Book   *Book
	Totals *Totals

	log *state.Log
}

// journal is how a book and totals share a log: what is in it is in the order in
// which it was done.
type journal struct {
	log *state.Log

	mu   sync.Mutex
	last state.Position
}

// append is called with the lock held.
func (j *journal) append(unit []byte) state.Position {
	if len(unit) > 0 {
		j.last = j.log.Append(unit)
	}
	return j.last
}

// commit waits until what was appended up to there is kept. Nil keeps nothing.
func (j *journal) commit(ctx context.Context, upto state.Position) error {
	if j == nil {
		return nil
	}
	return j.log.Commit(ctx, upto)
}

// barrier waits until all that was done so far is kept.
func (j *journal) barrier(ctx context.Context) error {
	j.mu.Lock()
	last := j.last
	j.mu.Unlock()
	return j.commit(ctx, last)
}

// Open returns a book and totals as the directory has them. Where it never had
// any they begin anew: what began before may have been counted. So it may where a
// part of the log was lost.
func Open(dir *state.Dir, cfg Config, totals TotalsConfig) (*Store, error) {
	s := &Store{Book: NewBook(cfg), Totals: NewTotals(totals)}
	started := s.Book.watermark.Swap(0)
	r := restorer{book: s.Book, totals: s.Totals, births: map[uint64]*total{}}
	var err error
	if s.log, err = dir.Log(logName, state.LogOptions{}, r.apply); err != nil {
		return nil, err
	}
	s.Totals.scrapers.floor = s.Totals.scrapers.kept // what no scraper was shown is new to all
	j := &journal{log: s.log}
	s.Book.journal, s.Totals.journal = j, j
	var unit []byte
	if cfg.NewSecret {
		unit = s.Book.anew(unit)
	}
	if r.units == 0 || cfg.NewSecret || isDamaged(dir) {
		s.Book.raise(started)
		j.append(appendWatermark(unit, started))
	}
	s.Book.shrink(s.Book.clock())
	return s, nil
}

// isDamaged reports whether a part of the log was lost.
func isDamaged(dir *state.Dir) bool {
	for _, d := range dir.Damage() {
		if strings.HasPrefix(filepath.Base(d.File), logName+".") {
			return true
		}
	}
	return false
}

// Run writes the log anew whenever that is due, until the directory is closed. It
// is for a goroutine of its own. Failures are handed to report, and tried again.
func (s *Store) Run(report func(error)) {
	for range s.log.Due() {
		if err := s.compact(); err != nil {
			report(err)
		}
	}
}

// compact writes the log anew. It heals one that has failed.
func (s *Store) compact() error {
	return s.log.Compact(func(write func([]byte) error) error {
		w := snapshot{write: write}
		w.everything(s.Book, s.Totals)
		return w.err
	})
}

// Err is not nil while what is committed may not survive: the log has failed, and
// Run has not healed it yet.
func (s *Store) Err() error { return s.log.Err() }

// pageWait bounds how long a page waits for a disk that does not keep up.
const pageWait = time.Second
