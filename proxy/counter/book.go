package counter

import "time"

// Config is what a Book is made of. The zero value is good for a guard without
// state.
type Config struct {
	// Baselines bounds the baselines that are kept; the longest unseen make room. 0
	// is 200,000.
	Baselines int
	// Idle is how long a baseline is kept that no push shows. 0 is 24 hours.
	Idle time.Duration
	// Now is the clock, nil that of the system.
	Now func() time.Time
}

// Book keeps baselines: the last reading of each counter of each source. It is
// safe for concurrent use, but pushes and deletes of one group are the caller's
// to serialise, from Difference to Commit or to giving up.
type Book struct {
	cfg Config
}

// NewBook returns an empty book that is kept in memory alone.
func NewBook(cfg Config) *Book { return &Book{cfg: cfg} }

// Difference fills dst with what the readings of one push add to their outputs.
// It changes nothing: what is not committed did not happen. The error is a
// *ValueError; dst is empty then. dst keeps the slice of readings until it is
// committed or used again, and is reused by filling it again; its zero value is
// ready.
func (b *Book) Difference(dst *Increments, readings []Reading, push Push) error {
	return nil
}

// Lost remembers that the reply to a push which was committed did not reach the
// client: one push equal to it within two minutes counts nothing.
func (b *Book) Lost(push Push) {}

// Forget drops the baselines of a group, and the replies to it that were lost: a
// client deleted it, the next push counts in full. A sweep must not call it, or
// who pushes on after a pause counts twice.
func (b *Book) Forget(group Identity) {}
