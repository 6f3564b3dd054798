package shared

import (
	"encoding/binary"
	"slices"
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
	// version is that of its program, as it said last; not restored, so "" at first.
	version string
}

// hear notes that a guard was heard of, and reports whether its version is news. No
// version is one that could not be read.
func (m *members) hear(guard Guard, batch uint64, at time.Time, version string) (news bool) {
	i := slices.IndexFunc(m.list, func(one member) bool { return one.guard == guard })
	if i < 0 {
		i = len(m.list)
		m.list = append(m.list, member{guard: guard})
	}
	one := &m.list[i]
	one.batch, one.heard = batch, at
	if version == "" || version == one.version {
		return false
	}
	one.version = version
	return true
}

// versionOf is the version of a guard; "" if it is not known.
func (m *members) versionOf(guard Guard) string {
	for _, one := range m.list {
		if one.guard == guard {
			return one.version
		}
	}
	return ""
}

// versions is of how many versions the guards are that have said theirs.
func (m *members) versions() int {
	seen := map[string]struct{}{}
	for _, one := range m.list {
		if one.version != "" {
			seen[one.version] = struct{}{}
		}
	}
	return len(seen)
}

// gone takes out those that were not heard of since a time, and returns them.
func (m *members) gone(since time.Time) []member {
	var left []member
	kept := m.list[:0]
	for _, one := range m.list {
		if one.heard.Before(since) {
			left = append(left, one)
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

// batchOf is the number of the last batch of a guard, if it is there.
func (m *members) batchOf(guard Guard) (batch uint64, there bool) {
	for _, one := range m.list {
		if one.guard == guard {
			return one.batch, true
		}
	}
	return 0, false
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
		m.list = append(m.list, member{guard: Guard(in.Text()), batch: in.Uvarint(), heard: time.UnixMicro(in.Varint())})
	}
}

func appendBytes(dst, b []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(b))), b...)
}
