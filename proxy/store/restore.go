package store

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

var errRecord = errors.New("a record of the groups that cannot be read")

// restore reads what the directory holds.
func (s *Store) restore(dir *state.Dir) error {
	var known recent
	skipped := 0
	log, err := dir.Log(logName, state.LogOptions{}, func(record []byte) error {
		if !s.apply(record, &known) {
			skipped++
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.journal = newJournal(log)
	s.agree()
	if skipped > 0 {
		s.cfg.Logger.Warn("Records of groups could not be applied: what came later stands", "records", skipped)
	}
	return nil
}

// agree has the index know what the groups hold. Where a part of the log is lost, such as
// that a group was deleted, families may contradict one another, and no page of both could
// be read: the newer one stands.
func (s *Store) agree() {
	groups := s.pinGroups()
	for i, g := range groups {
		take, _ := difference(nil, g.families)
		if s.index.Take(take, nil) == nil {
			continue
		}
		for _, taken := range groups[:i] {
			give, _ := difference(nil, taken.families)
			s.index.Drop(give)
		}
		s.leaveOut(s.contradicting(groups))
		return
	}
}

// contradicting has the index know all families but those that contradict newer ones,
// which it returns by their groups.
func (s *Store) contradicting(groups []pinned) map[*group][]*family {
	var all []member
	for _, g := range groups {
		for _, f := range g.families {
			all = append(all, member{g.group, f})
		}
	}
	slices.SortStableFunc(all, func(a, b member) int { return cmp.Compare(b.family.pushed, a.family.pushed) })
	out := map[*group][]*family{}
	for _, m := range all {
		if s.index.Take([]Family{m.family.shape.Family}, nil) != nil {
			out[m.group] = append(out[m.group], m.family)
		}
	}
	return out
}

// leaveOut takes families out of their groups, and tells of the first of them.
func (s *Store) leaveOut(families map[*group][]*family) {
	var names []string
	for g, out := range families {
		after := *g.content
		after.families = slices.DeleteFunc(slices.Clone(after.families), func(f *family) bool { return slices.Contains(out, f) })
		s.swap(g, &after)
		s.shapes.release(out)
		for _, f := range out {
			names = append(names, f.shape.Name+" of "+g.key.String())
		}
	}
	slices.Sort(names)
	s.cfg.Logger.Error("Families of groups contradict newer ones, as a part of the log is lost: they are left out",
		"families", len(names), "first", strings.Join(names[:min(len(names), 10)], ", "))
}

// apply applies a record to a store that nobody uses yet, and reports whether it
// could.
func (s *Store) apply(record []byte, known *recent) bool {
	r := state.NewReader(record, errRecord)
	kind := r.Byte()
	id := r.Text()
	if r.Err() != nil || !validKey(id) {
		return false
	}
	switch kind {
	case recordGone:
		s.remove(wire.KeyOf(id))
		return r.Len() == 0
	case recordWhole:
		c, ok := readWhole(&r, known)
		if ok {
			s.set(wire.KeyOf(id), c)
		}
		return ok
	case recordValues:
		return s.applyValues(id, &r)
	default:
		return false
	}
}

// validKey reports whether a text is the ID of a key.
func validKey(id string) bool {
	key := wire.KeyOf(id)
	return key.Job() != "" && wire.NewKey(key.Labels()...).ID() == id
}

func (s *Store) applyValues(id string, r *state.Reader) bool {
	g := s.shard(id).groups[id]
	c := &content{pushed: r.Varint(), failed: r.Varint()}
	n := r.Count(10)
	if g == nil || r.Err() != nil || int(n) != len(g.content.families) {
		return false
	}
	for i := range n {
		old := g.content.families[i]
		sum := r.Word()
		f := &family{shape: old.shape, pushed: r.Varint(), values: r.Text(), whole: r.Text()}
		if r.Err() != nil || sum != old.shape.sum() && sum != old.shape.earlySum() || !wellFormed(f.values, len(old.shape.lines)) {
			return false
		}
		c.families = append(c.families, f)
	}
	for _, f := range c.families {
		s.shapes.again(f.shape)
	}
	s.set(wire.KeyOf(id), c)
	return r.Len() == 0
}

// set has a group hold what was read, whatever stands beside it: what a compaction
// wrote of two groups may be of two times, and clash until what is behind it is read.
// The index is told at the end, see restore.
func (s *Store) set(key wire.Key, c *content) {
	g := s.enter(key)
	defer g.turn.Unlock()
	before := g.content
	for _, f := range c.families {
		if f.shape.used == 0 {
			f.shape = s.shapes.share(f.shape)
		}
	}
	s.swap(g, c)
	s.shapes.release(before.families)
}

// readWhole reads what a group holds.
func readWhole(r *state.Reader, known *recent) (*content, bool) {
	c := &content{pushed: r.Varint(), failed: r.Varint()}
	for range r.Count(8) {
		f, ok := readFamily(r, known)
		if !ok || len(c.families) > 0 && c.families[len(c.families)-1].shape.Name >= f.shape.Name {
			return nil, false
		}
		c.families = append(c.families, f)
	}
	return c, r.Err() == nil && r.Len() == 0
}

func readFamily(r *state.Reader, known *recent) (*family, bool) {
	s := &shape{}
	s.Name, s.Type, s.help = r.Text(), dto.MetricType(r.Byte()), r.Text()
	s.nameLines()
	text, lines, ok := s.readLines(r)
	if !ok {
		return nil, false
	}
	starts, ok := readStarts(r, len(lines))
	f := &family{shape: s, pushed: r.Varint(), values: r.Text(), whole: r.Text()}
	if !ok || s.Type > dto.MetricType_HISTOGRAM || r.Err() != nil || !wellFormed(f.values, len(lines)) {
		return nil, false
	}
	if s.rows = known.find(text, lines, starts); s.rows == nil {
		s.rows = &rows{text: string(text), lines: slices.Clone(lines), starts: starts}
		s.rows.note(known)
		known.add(s.rows)
	}
	s.plain = s.rows.plain && model.LegacyValidation.IsValidMetricName(s.Name)
	return f, true
}

// readLines reads the lines of a shape, and the text that they are made of.
func (s *shape) readLines(r *state.Reader) (packed []byte, lines []line, ok bool) {
	text, first := r.Text(), 0
	for range r.Count(3) {
		head, tail, flags := r.Uvarint(), r.Uvarint(), r.Byte()
		if n := uint64(len(text)); head > n || tail > n-head {
			return nil, nil, false
		}
		part := s.partOf(text[:head])
		if part < 0 || !soundTail(text[head:head+tail]) {
			return nil, nil, false
		}
		l := line{own: uint32(len(packed)), part: uint8(part), anonymous: flags&lineAnonymous != 0, made: flags&lineMade != 0}
		packed = append(packed, text[head:head+tail]...)
		if len(lines) == 0 {
			first = len(packed)
		} else {
			packed, l.same = fronted(packed, packed[:first], int(l.own))
		}
		lines = append(lines, l)
		text = text[head+tail:]
	}
	return packed, lines, text == ""
}

// readStarts reads which of so many lines are the first of a metric.
func readStarts(r *state.Reader, lines int) (starts []uint32, ok bool) {
	last := uint64(0)
	for i := range r.Count(1) {
		if last += r.Uvarint(); last >= uint64(lines) || i > 0 && last <= uint64(starts[i-1]) || i == 0 && last != 0 {
			return nil, false
		}
		starts = append(starts, uint32(last))
	}
	return starts, true
}

// partOf is which of the parts of the family a line begins with, negative for none.
func (s *shape) partOf(head string) int {
	if s.Name == "" || !utf8.ValidString(s.Name) {
		return -1
	}
	return slices.IndexFunc(parts[:], func(part string) bool {
		return (part == "" || s.hasParts()) && head == string(appendHead(nil, s.Name, part))
	})
}

// soundTail reports whether labels can be read from what stands behind those of a
// group.
func soundTail(tail string) bool {
	if !utf8.ValidString(tail) {
		return false
	}
	for strings.HasPrefix(tail, ",") {
		tail = tail[1:]
		var ok bool
		if strings.HasPrefix(tail, `"`) {
			if tail, ok = pastQuoted(tail); !ok {
				return false
			}
		} else {
			name, _, _ := strings.Cut(tail, "=")
			if !model.LegacyValidation.IsValidLabelName(name) {
				return false
			}
			tail = tail[len(name):]
		}
		if !strings.HasPrefix(tail, "=") {
			return false
		}
		if tail, ok = pastQuoted(tail[1:]); !ok {
			return false
		}
	}
	return tail == "} "
}

func pastQuoted(s string) (rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, false
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return s[i+1:], true
		}
	}
	return s, false
}

// wellFormed reports whether there are so many values.
func wellFormed(values string, n int) bool {
	for ; n > 0 && len(values) > 0 && len(values) > int(values[0]); n-- {
		end := 1 + int(values[0])
		if _, err := strconv.ParseFloat(values[1:end], 64); err != nil {
			return false
		}
		values = values[end:]
	}
	return n == 0 && values == ""
}

// note finds what rows that were read know of their labels.
func (r *rows) note(known *recent) {
	r.plain = true
	r.each(func(m shapeMetric) {
		var names []string
		for _, l := range m.labels {
			r.plain = r.plain && model.LegacyValidation.IsValidLabelName(l.Name)
			if l.Value != "" {
				names = append(names, l.Name)
			}
		}
		for _, set := range r.labels {
			if slices.Equal(set, names) {
				return
			}
		}
		r.labels = append(r.labels, known.set(names))
	})
}
