package shared

import (
	"cmp"
	"encoding/binary"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

const (
	// reunionTime is for how long guards that went on by themselves wait for one
	// another once the first is back. Who comes later is heard later.
	reunionTime = 10 * time.Second
	// nudge is how often a guard that waits looks whether that time is over.
	nudge = 200 * time.Millisecond
)

// reunion is what guards do that went on by themselves: each hands in what it did and
// says when that is all. Once all have, or their time is over, what was done is
// carried out in the order of its times. Every guard has the same.
type reunion struct {
	begun  int64   // in microseconds since 1970; 0: there is none
	await  []Guard // who is to say so
	done   []Guard // who has
	handed []handed
	missed []missed // who was not heard of lately
}

// handed is a command that was done already.
type handed struct {
	guard Guard
	did   int64
	room  byte
	body  []byte
	own   any
}

type missed struct {
	guard Guard
	at    int64
}

// miss notes that a guard was not heard of: it may have been by itself.
func (r *reunion) miss(g Guard, at time.Time) { r.missed = append(r.missed, missed{g, at.UnixMicro()}) }

// begin has all guards awaited that are there, or were lately.
func (r *reunion) begin(at time.Time, there []member, lease time.Duration) {
	r.begun, r.await, r.done = at.UnixMicro(), nil, nil
	for _, m := range there {
		r.await = append(r.await, m.guard)
	}
	for _, m := range r.missed {
		if at.UnixMicro()-m.at < lease.Microseconds() && !slices.Contains(r.await, m.guard) {
			r.await = append(r.await, m.guard)
		}
	}
	r.missed = nil
}

// over reports whether all have said that they have handed in all.
func (r *reunion) over(at time.Time) bool {
	return at.UnixMicro()-r.begun >= reunionTime.Microseconds() ||
		!slices.ContainsFunc(r.await, func(g Guard) bool { return !slices.Contains(r.done, g) })
}

// takeIn takes what a guard hands in.
func (l *Log) takeIn(guard Guard, at time.Time, parts []byte, mine *command) error {
	r := &l.reunion
	if r.begun == 0 {
		r.begin(at, l.members.list, l.cfg.Lease)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = true
	if len(parts) == 0 {
		r.done = append(r.done, guard)
		if guard == l.guard && l.finals > 0 {
			l.finals--
		}
		return nil
	}
	in := state.NewReader(parts, errCommand)
	for i := 0; in.Len() > 0; i++ {
		h := handed{guard: guard, room: in.Byte(), did: in.Varint(), body: in.Take(in.Uvarint())}
		if mine != nil && i < len(mine.parts) {
			h.own = mine.parts[i].own
		}
		if in.Err() == nil {
			r.handed = append(r.handed, h)
		}
	}
	return in.Err()
}

// reunite carries out what was handed in once that is all.
func (l *Log) reunite(at time.Time) error {
	r := &l.reunion
	if r.begun == 0 || !r.over(at) {
		return nil
	}
	all := r.handed
	slices.SortStableFunc(all, func(x, y handed) int {
		return cmp.Or(cmp.Compare(x.did, y.did), cmp.Compare(x.guard, y.guard))
	})
	*r = reunion{}
	for i := range all {
		h := &all[i]
		err := errCommand
		if h.room > 0 && int(h.room) <= len(l.rooms) {
			err = l.rooms[h.room-1].Apply(Entry{Guard: h.guard, At: at, Body: h.body, Own: h.own, Did: time.UnixMicro(min(h.did, at.UnixMicro()))})
		}
		if err == nil {
			continue
		}
		if err := l.skip(h.guard, err); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold = l.finals > 0
	return nil
}

// answerReunion has a guard that was not by itself say so to those that were, and
// look whether their time is over.
func (l *Log) answerReunion() {
	r := &l.reunion
	if r.begun == 0 {
		return
	}
	l.mu.Lock()
	if l.finals == 0 && !slices.Contains(r.done, l.guard) {
		l.sayAll()
	}
	l.mu.Unlock()
	if now := time.Now(); now.Sub(l.nudged) >= nudge {
		l.nudged = now
		l.post(beat)
	}
}

func appendPart(dst []byte, room byte, did int64, body []byte) []byte {
	return appendBytes(binary.AppendVarint(append(dst, room), did), body)
}

func (r *reunion) save(dst []byte) []byte {
	dst = binary.AppendVarint(dst, r.begun)
	for _, guards := range [][]Guard{r.await, r.done} {
		dst = binary.AppendUvarint(dst, uint64(len(guards)))
		for _, g := range guards {
			dst = appendBytes(dst, []byte(g))
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.handed)))
	for i := range r.handed {
		h := &r.handed[i]
		dst = appendPart(appendBytes(dst, []byte(h.guard)), h.room, h.did, h.body)
	}
	dst = binary.AppendUvarint(dst, uint64(len(r.missed)))
	for _, m := range r.missed {
		dst = binary.AppendVarint(appendBytes(dst, []byte(m.guard)), m.at)
	}
	return dst
}

func (r *reunion) restore(in *state.Reader) {
	*r = reunion{begun: in.Varint()}
	for _, guards := range []*[]Guard{&r.await, &r.done} {
		for range in.Count(1) {
			*guards = append(*guards, Guard(in.Text()))
		}
	}
	for range in.Count(4) {
		r.handed = append(r.handed, handed{guard: Guard(in.Text()), room: in.Byte(), did: in.Varint(), body: in.Take(in.Uvarint())})
	}
	for range in.Count(2) {
		r.missed = append(r.missed, missed{Guard(in.Text()), in.Varint()})
	}
}
