package store

import (
	"hash/maphash"
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
	// text holds what lines begin with, before the group's labels and with the brace:
	// of each of the parts if the family has parts. Then, of each line, what stands
	// behind those labels up to the value, but for what it begins with like the first.
	text  string
	head  uint32 // the length of what a line of no part begins with
	lines []line
	// starts are the first lines of the metrics, nil where each has one line.
	starts []uint32
	labels [][]string // the sets of label names of the metrics, each once; see Index

	hash uint64
	used int // by families; guarded by shapes
	// places are its metrics by their hashes, once a group beside has asked; guarded by
	// Store.owners.
	places []place
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
	return s.text[n*s.head+lengths[n] : (n+1)*s.head+lengths[n+1]]
}

// own is what line i does not have in common with the first.
func (s *shape) own(i int) string {
	end := len(s.text)
	if i+1 < len(s.lines) {
		end = int(s.lines[i+1].own)
	}
	return s.text[s.lines[i].own:end]
}

// tail is what stands behind the labels of the group in line i.
func (s *shape) tail(i int) string {
	if s.lines[i].same == 0 {
		return s.own(i)
	}
	return s.own(0)[:s.lines[i].same] + s.own(i)
}

// equal reports whether two shapes are one.
func (s *shape) equal(o *shape) bool {
	if s.Family != o.Family || s.help != o.help || s.text != o.text || s.head != o.head || len(s.lines) != len(o.lines) || len(s.starts) != len(o.starts) {
		return false
	}
	for i := range s.lines {
		if s.lines[i] != o.lines[i] {
			return false
		}
	}
	for i := range s.starts {
		if s.starts[i] != o.starts[i] {
			return false
		}
	}
	return true
}

// shapes are those in use, each once. Safe for concurrent use.
type shapes struct {
	seed maphash.Seed

	mu     sync.Mutex
	byHash map[uint64][]*shape

	// strange is set for good once a shape, or a group, has a name that is not of the
	// legacy charset. Before that no page has to look for one.
	strange atomic.Bool
}

func newShapes() *shapes {
	return &shapes{seed: maphash.MakeSeed(), byHash: map[uint64][]*shape{}}
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
	for _, o := range t.byHash[s.hash] {
		if o.equal(s) {
			o.used++
			return o
		}
	}
	s.used = 1
	t.byHash[s.hash] = append(t.byHash[s.hash], s)
	return s
}

// again has a shape that is in use be used once more.
func (t *shapes) again(s *shape) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.used++; s.used == 1 { // it was let go meanwhile
		t.byHash[s.hash] = append(t.byHash[s.hash], s)
	}
}

// release has shapes be used once less.
func (t *shapes) release(families []*family) {
	if len(families) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range families {
		s := f.shape
		if s.used--; s.used > 0 {
			continue
		}
		all := t.byHash[s.hash]
		for i, o := range all {
			if o == s {
				all[i] = all[len(all)-1]
				all[len(all)-1] = nil
				all = all[:len(all)-1]
				break
			}
		}
		if len(all) == 0 {
			delete(t.byHash, s.hash)
		} else {
			t.byHash[s.hash] = all
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

// appendText appends the lines of the family in a group with these labels.
func (f *family) appendText(dst []byte, group string) []byte {
	s, values := f.shape, f.values
	if len(s.lines) == 0 {
		return dst
	}
	first, usual := s.own(0), s.begins(0)
	for i := range s.lines {
		l, begin := &s.lines[i], usual
		if l.part != 0 {
			begin = s.begins(l.part)
		}
		dst = append(dst, begin...)
		if l.anonymous {
			dst = append(dst, noInstance...)
		}
		dst = append(dst, group...)
		if l.same > 0 {
			dst = append(dst, first[:l.same]...)
		}
		dst = append(dst, s.own(i)...)
		n := 1 + int(values[0])
		dst = append(dst, values[1:n]...)
		dst = append(dst, '\n')
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
