package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// sweepFate is what became of a stale group. The zero value is not known yet.
type sweepFate int

const (
	sweepDeleted sweepFate = iota + 1
	sweepWould             // be deleted, if it were not for --dry-run
	sweepKept
	sweepGone
	sweepFailed
	sweepFates
)

// String is the word for people.
func (f sweepFate) String() string {
	return [...]string{"open", "deleted", "would delete", "kept", "gone", "failed"}[f]
}

// sweepReport tells of a pass, a line a group.
type sweepReport struct {
	out    io.Writer
	counts [sweepFates]int
	told   map[*sweepTarget]bool
	err    error // of writing
}

// tell tells of the targets that are settled, each once.
func (r *sweepReport) tell(targets []*sweepTarget) {
	if r.told == nil {
		r.told = make(map[*sweepTarget]bool, len(targets))
	}
	for _, t := range targets {
		if t.fate == 0 || r.told[t] {
			continue
		}
		r.told[t] = true
		r.counts[t.fate]++
		line := fmt.Sprintf("%s %s, %s", t.fate, t.Key, t.age())
		if t.note != "" {
			line += ": " + t.note
		}
		r.write(line)
	}
}

func (r *sweepReport) write(line string) {
	if _, err := fmt.Fprintln(r.out, line); err != nil && r.err == nil {
		r.err = fmt.Errorf("write: %w", err)
	}
}

// end tells the sum. It returns an error if a group is left that should not be.
func (r *sweepReport) end(groups, stale int) error {
	var parts []string
	for fate := sweepDeleted; fate < sweepFates; fate++ {
		if n := r.counts[fate]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, fate))
		}
	}
	sum := fmt.Sprintf("%d of %d groups stale", stale, groups)
	if len(parts) > 0 {
		sum += ": " + strings.Join(parts, ", ")
	}
	r.write(sum)
	if n := r.counts[sweepFailed]; n > 0 {
		return fmt.Errorf("%d of %d stale groups cannot be deleted or were not", n, stale)
	}
	return r.err
}

// age says how long ago the group was pushed when it was last seen as it was.
func (t *sweepTarget) age() string {
	at := lastPush(t.Group)
	if at.IsZero() {
		return "never pushed"
	}
	ago := t.seen.Sub(at).Round(time.Second)
	if t.Pushed.IsZero() {
		return fmt.Sprintf("failed %v ago, never accepted", ago)
	}
	return fmt.Sprintf("pushed %v ago", ago)
}
