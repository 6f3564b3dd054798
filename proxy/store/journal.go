package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

const logName = "groups"

// The kinds of records, by their first byte.
const (
	recordWhole  = 1 // a group and all that it holds
	recordValues = 2 // the values of a group whose shapes are those of the record before
	recordGone   = 3 // a group is gone
)

// The flags of a line in a record.
const (
	lineAnonymous = 1 << iota
	lineMade
)

// journal is where a store writes what changes. A nil journal writes nothing.
type journal struct {
	log     *state.Log
	records sync.Pool // of *[]byte, for records that are made
	longest int       // of a record; state.MaxRecord, but in tests
}

func newJournal(log *state.Log) *journal {
	return &journal{log: log, records: sync.Pool{New: func() any { return new([]byte) }}, longest: state.MaxRecord}
}

// largestKept is of how long a record the memory is kept for others.
const largestKept = 64 << 10

// record appends what a group holds: values alone if the shapes are those of before.
// The shard of the group is locked.
func (j *journal) record(g *group, before *content) state.Position {
	if j == nil {
		return 0
	}
	memory := j.records.Get().(*[]byte)
	record := (*memory)[:0]
	if sameShapes(before.families, g.content.families) && before.pushed != 0 {
		record = appendValues(record, g)
	} else {
		record = appendWhole(record, g.key, g.content)
	}
	position := j.log.Add(record)
	if cap(record) <= largestKept {
		*memory = record
	}
	j.records.Put(memory)
	return position
}

func (j *journal) removed(g *group) state.Position {
	if j == nil {
		return 0
	}
	return j.log.Add(appendText([]byte{recordGone}, g.key.ID()))
}

func sameShapes(a, b []*family) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].shape != b[i].shape {
			return false
		}
	}
	return true
}

// tooLong says why a group cannot hold the families: its record would be longer than one
// may be, and whatever else is pushed would survive no more.
func (j *journal) tooLong(key wire.Key, families []*family) error {
	if j == nil || mostOf(key, families, (*shape).roughly) <= j.longest {
		return nil
	}
	if n := mostOf(key, families, (*shape).exactly); n > j.longest {
		return fmt.Errorf("the group would take %d bytes where the guard keeps its state, limit: %d; make several groups of it", n, j.longest)
	}
	return nil
}

// mostOf is how long the record of a group is at the most, whose families have lines that
// are as long as that.
func mostOf(key wire.Key, families []*family, lines func(*shape) int) int {
	const numbers = 8 * binary.MaxVarintLen64 // of a group, or of a family
	n := numbers + len(key.ID())
	for _, f := range families {
		s := f.shape
		n += numbers + len(s.Name) + len(s.help) + lines(s) + binary.MaxVarintLen32*len(s.starts) + len(f.values) + len(f.whole)
	}
	return n
}

// lineNumbers is how much a record has for a line beside its text.
const lineNumbers = 2*binary.MaxVarintLen32 + 1

// exactly is how long the lines are in a record, but for numbers that are short, and
// roughly is no less and found without looking at each of them.
func (s *shape) exactly() int {
	n := 0
	for i, l := range s.lines {
		n += lineNumbers + len(s.begins(l.part)) + int(l.same) + len(s.own(i))
	}
	return n
}

func (s *shape) roughly() int {
	if len(s.lines) == 0 {
		return 0
	}
	return len(s.lines)*(lineNumbers+len(s.heads)+len(s.own(0))) + len(s.text)
}

// commit waits until what was appended up to the position survives the process, and
// writes it if nobody else does: to have it written by another goroutine takes longer. A
// disk that takes nothing is no error of a push: see Err.
func (s *Store) commit(ctx context.Context, p state.Position, turn gateway.Turn) error {
	if s.journal == nil || p == 0 || s.journal.log.Write(p) {
		return nil
	}
	if turn != nil {
		turn.Rest()
	}
	err := s.journal.log.Commit(ctx, p)
	if err != nil && ctx.Err() == nil && !errors.Is(err, state.ErrClosed) {
		return nil // it goes on in memory, and says so
	}
	return err
}

// Err is not nil while what is pushed may not survive the process.
func (s *Store) Err() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.log.Err()
}

// Run writes the groups anew whenever that is due, until their directory is closed.
// It is for a goroutine of its own. Failures are handed to report, and tried again.
// For a store in memory it returns at once.
func (s *Store) Run(report func(error)) {
	if s.journal == nil {
		return
	}
	for range s.journal.log.Due() {
		if err := s.Compact(); err != nil {
			report(err)
		}
	}
}

// Compact writes the groups anew. Pushes go on meanwhile.
func (s *Store) Compact() error {
	if s.journal == nil {
		return nil
	}
	return s.journal.log.Compact(func(write func([]byte) error) error {
		var record []byte
		var all []pinned
		for i := range s.shards {
			all = s.shards[i].pin(all[:0])
			// What changes from here on is in the log behind.
			for _, p := range all {
				record = appendWhole(record[:0], p.key, p.content)
				if err := write(record); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendTimes(dst []byte, c *content) []byte {
	return binary.AppendVarint(binary.AppendVarint(dst, c.pushed), c.failed)
}

func appendWhole(dst []byte, key wire.Key, c *content) []byte {
	dst = appendTimes(appendText(append(dst, recordWhole), key.ID()), c)
	dst = binary.AppendUvarint(dst, uint64(len(c.families)))
	for _, f := range c.families {
		s := f.shape
		dst = appendText(dst, s.Name)
		dst = append(dst, byte(s.Type))
		dst = appendText(dst, s.help)
		dst = appendText(dst, s.whole())
		dst = binary.AppendUvarint(dst, uint64(len(s.lines)))
		for i, l := range s.lines {
			flags := byte(0)
			if l.anonymous {
				flags |= lineAnonymous
			}
			if l.made {
				flags |= lineMade
			}
			dst = binary.AppendUvarint(dst, uint64(len(s.begins(l.part))))
			dst = binary.AppendUvarint(dst, uint64(l.same)+uint64(len(s.own(i))))
			dst = append(dst, flags)
		}
		dst = binary.AppendUvarint(dst, uint64(len(s.starts)))
		last := uint32(0)
		for _, at := range s.starts {
			dst = binary.AppendUvarint(dst, uint64(at-last))
			last = at
		}
		dst = binary.AppendVarint(dst, f.pushed)
		dst = appendText(appendText(dst, f.values), f.whole)
	}
	return dst
}

func appendValues(dst []byte, g *group) []byte {
	dst = appendTimes(appendText(append(dst, recordValues), g.key.ID()), g.content)
	dst = binary.AppendUvarint(dst, uint64(len(g.content.families)))
	for _, f := range g.content.families {
		dst = binary.LittleEndian.AppendUint64(dst, f.shape.sum())
		dst = binary.AppendVarint(dst, f.pushed)
		dst = appendText(appendText(dst, f.values), f.whole)
	}
	return dst
}

// whole is the text of all lines, each of them in full.
func (s *shape) whole() string {
	var out strings.Builder
	for i, l := range s.lines {
		out.WriteString(s.begins(l.part))
		out.WriteString(s.own(0)[:l.same])
		out.WriteString(s.own(i))
	}
	return out.String()
}

// sum tells a shape from others in the journal, over restarts. It is part of the format,
// whatever becomes of what it is made of: values with another sum are not restored.
func (s *shape) sum() uint64 {
	sum := xxhash.Sum64String(s.text) ^ xxhash.Sum64String(s.Name) ^ uint64(s.Type)
	for i := range s.lines {
		sum = sum*0x9e3779b97f4a7c15 + uint64(s.lines[i].same)
	}
	return sum
}

// earlySum is what guards wrote for sum that kept every line in full.
func (s *shape) earlySum() uint64 {
	return xxhash.Sum64String(s.whole()) ^ xxhash.Sum64String(s.Name) ^ uint64(s.Type)
}
