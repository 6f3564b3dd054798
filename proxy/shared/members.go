package shared

import (
	"encoding/binary"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

// members are the guards that are there, in the order in which they came. Every
// guard has the same.
type members struct {
	list []member
}

type member struct {
	guard Guard
	batch uint64    // the number of its last
	heard time.Time // when that had its place
}

// hear notes that a guard was heard of.
func (m *members) hear(guard Guard, batch uint64, at time.Time) {
	for i := range m.list {
		if m.list[i].guard == guard {
			m.list[i].batch, m.list[i].heard = batch, at
			return
		}
	}
	m.list = append(m.list, member{guard, batch, at})
}

// gone takes out those that were not heard of since a time, and returns them.
func (m *members) gone(since time.Time) []Guard {
	var left []Guard
	kept := m.list[:0]
	for _, one := range m.list {
		if one.heard.Before(since) {
			left = append(left, one.guard)
		} else {
			kept = append(kept, one)
		}
	}
	m.list = kept
	return left
}

// remove takes out a guard that says farewell.
func (m *members) remove(guard Guard) {
	for i := range m.list {
		if m.list[i].guard == guard {
			m.list = append(m.list[:i], m.list[i+1:]...)
			return
		}
	}
}

// batchOf is the number of the last batch of a guard.
func (m *members) batchOf(guard Guard) uint64 {
	for _, one := range m.list {
		if one.guard == guard {
			return one.batch
		}
	}
	return 0
}

func (m *members) save(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(m.list)))
	for _, one := range m.list {
		dst = appendBytes(dst, []byte(one.guard))
		dst = binary.AppendUvarint(dst, one.batch)
		dst = binary.AppendVarint(dst, one.heard.UnixMicro())
	}
	return dst
}

func (m *members) restore(in *state.Reader) {
	m.list = nil
	for range in.Count(3) {
		m.list = append(m.list, member{Guard(in.Text()), in.Uvarint(), time.UnixMicro(in.Varint())})
	}
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
