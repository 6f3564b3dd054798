package store

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
)

// shape is what of a family does not change from push to push. It is immutable but
// for what is guarded.
type shape struct {
	Family
	help  string
	plain bool // all names are of the legacy charset: its text needs no escaping
	// heads is what lines begin with, before the group's labels and with the brace: of
	// each of the parts if the family has parts.
	heads string
	head  uint32 // the length of what a line of no part begins with
	*rows

	hash uint64
	used int32  // by families; this and next are guarded by shapes
	next *shape // of the same hash
}

// rows are the lines of a shape but for the name of its family: the families of a push
// mostly have the same labels, and then the same rows. They are immutable but for what is
// guarded.
type rows struct {
	// text has, of each line, what stands behind the labels of the group up to the value,
	// but for what it begins with like the first.
	text  string
	lines []line
	// starts are the first lines of the metrics, nil where each has one line.
	starts []uint32
	labels [][]string // the sets of label names of the metrics, each once; see Index
	plain  bool       // all label names are of the legacy charset
	// places are the metrics by their hashes, once a group beside has asked; guarded by
	// Store.owners.
	places []place
}

// equal reports whether two shapes have the same lines.
func (r *rows) equal(o *rows) bool {
	return r == o || r.text == o.text && slices.Equal(r.lines, o.lines) && slices.Equal(r.starts, o.starts)
}

// recent are the last rows and sets of label names that were made, for what comes next to
// have the same memory if it is the same. The zero value has none.
type recent struct {
	rows  [4]*rows
	names [8][]string
}

// find returns the same rows if they are among the recent, nil if there are none.
func (k *recent) find(text []byte, lines []line, starts []uint32) *rows {
	for _, r := range k.rows {
		if r != nil && r.text == string(text) && slices.Equal(r.lines, lines) && slices.Equal(r.starts, starts) {
			return r
		}
	}
	return nil
}

// add keeps rows.
func (k *recent) add(r *rows) {
	copy(k.rows[1:], k.rows[:])
	k.rows[0] = r
}

// set is a set of label names in memory of its own.
func (k *recent) set(names []string) []string {
	for _, set := range k.names {
		if set != nil && slices.Equal(set, names) {
			return set
		}
	}
	set := make([]string, len(names))
	for i, name := range names {
		set[i] = strings.Clone(name)
	}
	copy(k.names[1:], k.names[:])
	k.names[0] = set
	return set
}

// line is a line of a shape.
type line struct {
	own  uint32 // where in the text what it has of its own begins; up to that of the next
	same uint32 // how much of the first line's stands before that
	part uint8  // what the name of the family is followed by, among parts
	// anonymous says that the metric has no label instance.
	anonymous bool
	// made says that the line was not pushed: a page has a bucket for +Inf in any
	// case, a message and a listing do not.
	made bool
}

// parts are what may follow the name of a family.
var parts = [...]string{"", "_bucket", "_sum", "_count"}

// begins is what the lines of a part begin with.
func (s *shape) begins(part uint8) string {
	// Of the parts before it, in the order they have in the text.
	lengths := [...]uint32{0, 0, uint32(len("_bucket")), uint32(len("_bucket_sum")), uint32(len("_bucket_sum_count"))}
	n := uint32(part)
	return s.heads[n*s.head+lengths[n] : (n+1)*s.head+lengths[n+1]]
}

// own is what line i does not have in common with the first.
func (r *rows) own(i int) string {
	end := len(r.text)
	if i+1 < len(r.lines) {
		end = int(r.lines[i+1].own)
	}
	return r.text[r.lines[i].own:end]
}

// tail is what stands behind the labels of the group in line i.
func (r *rows) tail(i int) string {
	if r.lines[i].same == 0 {
		return r.own(i)
	}
	return r.own(0)[:r.lines[i].same] + r.own(i)
}

// equal reports whether two shapes are one.
func (s *shape) equal(o *shape) bool {
	return s.Family == o.Family && s.help == o.help && s.rows.equal(o.rows)
}

// shapes are those in use, each once. Safe for concurrent use.
type shapes struct {
	seed maphash.Seed

	mu     sync.Mutex
	byHash map[uint64]*shape // chained

	// strange is set for good once a shape, or a group, has a name that is not of the
	// legacy charset. Before that no page has to look for one.
	strange atomic.Bool
}

func newShapes() *shapes {
	return &shapes{seed: maphash.MakeSeed(), byHash: map[uint64]*shape{}}
}

// share returns the shape that equals s, which is s if it is new, and has it used
// once more.
func (t *shapes) share(s *shape) *shape {
	var h maphash.Hash
	h.SetSeed(t.seed)
	_, _ = h.WriteString(s.Name)
	_ = h.WriteByte(byte(s.Type))
	_, _ = h.WriteString(s.help)
	_ = h.WriteByte(0)
	_, _ = h.WriteString(s.text)
	s.hash = h.Sum64()
	if !s.plain {
		t.strange.Store(true)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for o := t.byHash[s.hash]; o != nil; o = o.next {
		if o.equal(s) {
			o.used++
			return o
		}
	}
	s.used = 1
	t.enter(s)
	return s
}

// expect makes room for so many shapes more, if they are many.
func (t *shapes) expect(n int) {
	if n < manyMore {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.byHash = withRoom(t.byHash, n)
}

// again has a shape that is in use be used once more.
func (t *shapes) again(s *shape) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.used++; s.used == 1 { // it was let go meanwhile
		t.enter(s)
	}
}

// enter and leave have a shape be found and no longer be found; t.mu is locked.
func (t *shapes) enter(s *shape) {
	s.next = t.byHash[s.hash]
	t.byHash[s.hash] = s
}

func (t *shapes) leave(s *shape) {
	first := t.byHash[s.hash]
	switch {
	case first != s:
		for first.next != s {
			first = first.next
		}
		first.next = s.next
	case s.next != nil:
		t.byHash[s.hash] = s.next
	default:
		delete(t.byHash, s.hash)
	}
	s.next = nil
}

// release has shapes be used once less.
func (t *shapes) release(families []*family) {
	if len(families) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range families {
		if f.shape.used--; f.shape.used == 0 {
			t.leave(f.shape)
		}
	}
}

// family is a family of one group. It is immutable but for its place.
type family struct {
	shape *shape
	// values are the texts of the lines' values, each behind its length.
	values string
	// whole is the family as a message without the labels of the group, where text
	// cannot say all of it: native histograms, exemplars, created timestamps.
	whole  string
	pushed int64 // Unix nanoseconds
	shared bool  // its shape is one of those in use, or was
	place  int32 // among the members of its shard; guarded by the shard
}

// appendText appends the lines of the family in a group with these labels. What a line
// begins with like the first is copied from that, in one piece: the name, the group's
// labels and what the two have in common.
func (f *family) appendText(dst []byte, group string) []byte {
	s, values := f.shape, f.values
	begun, head := len(dst), 0 // where the first line begins, and how long it is up to its own labels
	for i := range s.lines {
		l, first := &s.lines[i], &s.lines[0]
		if i > 0 && l.part == first.part && l.anonymous == first.anonymous {
			dst = append(dst, dst[begun:begun+head+int(l.same)]...)
		} else {
			dst = append(dst, s.begins(l.part)...)
			if l.anonymous {
				dst = append(dst, noInstance...)
			}
			dst = append(dst, group...)
			if i == 0 {
				head = len(dst) - begun
			}
			dst = append(dst, s.own(0)[:l.same]...)
		}
		dst = append(dst, s.own(i)...)
		n := 1 + int(values[0])
		dst = append(append(dst, values[1:n]...), '\n')
		values = values[n:]
	}
	return dst
}

const noInstance = `instance="",`

// appendHead appends the HELP and TYPE lines.
func (s *shape) appendHead(dst []byte, help string) []byte {
	name := s.Name
	if !model.LegacyValidation.IsValidMetricName(name) {
		name = string(appendQuoted(nil, name))
	}
	if help != "" {
		dst = append(dst, "# HELP "...)
		dst = append(dst, name...)
		dst = append(dst, ' ')
		dst = append(dst, helpEscaper.Replace(help)...)
		dst = append(dst, '\n')
	}
	dst = append(dst, "# TYPE "...)
	dst = append(dst, name...)
	dst = append(dst, ' ')
	dst = append(dst, typeWord(s.Type)...)
	return append(dst, '\n')
}

var helpEscaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`)

func typeWord(t dto.MetricType) string {
	switch t {
	case dto.MetricType_COUNTER:
		return "counter"
	case dto.MetricType_GAUGE:
		return "gauge"
	case dto.MetricType_SUMMARY:
		return "summary"
	case dto.MetricType_HISTOGRAM:
		return "histogram"
	default:
		return "untyped"
	}
}
