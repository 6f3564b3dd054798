package state

import "fmt"

// Sync says when what was written is made to survive the loss of power. The
// zero value is SyncInterval. It is a flag.Value.
type Sync int

const (
	// SyncInterval syncs each Options.Interval, behind the callers' backs.
	SyncInterval Sync = iota
	// SyncAlways syncs before Commit returns, once for all who wait.
	SyncAlways
	// SyncNever leaves it to the kernel. Compact and Close sync all the same.
	SyncNever
)

// String is one of interval, always and never.
func (s Sync) String() string {
	switch s {
	case SyncInterval:
		return "interval"
	case SyncAlways:
		return "always"
	case SyncNever:
		return "never"
	}
	return fmt.Sprintf("Sync(%d)", int(s))
}

// Set reads what String writes, and refuses everything else.
func (s *Sync) Set(text string) error {
	for _, known := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		if text == known.String() {
			*s = known
			return nil
		}
	}
	return fmt.Errorf("sync %.20q: want always, interval or never", text)
}
