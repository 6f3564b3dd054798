package ledger

import (
	"encoding/binary"
	"net/http"
	"time"

	"github.com/dchest/siphash"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// The commands of a book that guards share, by their first byte. What follows is as
// in the records of a book that is kept.
const (
	cmdAdmit      = 'a' // n wait claim
	cmdSettle     = 's' // n outcome
	cmdBegin      = 'b' // n: a listing of the upstream begins
	cmdListed     = 'l' // n {group}: what it says of some groups
	cmdListedEnd  = 'e' // n {id}: these are gone
	cmdWipe       = 'w'
	cmdTerms      = 'r' // all {job entry budget}
	cmdTurnTotals = 't'
)

// The flags of a claim.
const (
	claimFolds = 1 << iota
	claimTotals
	claimSweep
	claimEvict
	claimRepeats // what it names is what the group holds of that
	// claimDone leads the outcome of a request that was sent without asking.
	claimDone = iota
)

func appendBool(dst []byte, yes bool) []byte {
	if yes {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// numbers are the fields of a budget that are numbers, in an order that does not change.
func (b *Budget) numbers() [16]*int {
	return [...]*int{
		&b.Series, &b.Borrow, &b.Groups, &b.LabelValues, &b.NewSeriesPerHour, &b.NewSeriesPerDay, &b.PushesPerMinute, &b.EntrySeries,
		&b.EntryJobs, &b.NewJobsPerDay, &b.Guaranteed, &b.Reserved, &b.GuardSeries, &b.GuardGroups, new(int), new(int),
	}
}

func appendBudget(dst []byte, b *Budget) []byte {
	for _, n := range b.numbers() {
		dst = binary.AppendVarint(dst, int64(*n))
	}
	return appendBool(binary.AppendVarint(dst, int64(b.StaleAfter)), b.KeepLast)
}

func (r *reader) budget() (b Budget) {
	for _, n := range b.numbers() {
		*n = int(r.Varint())
	}
	b.StaleAfter, b.KeepLast = time.Duration(r.Varint()), r.Byte() == 1
	return b
}

// appendClaim writes a claim of a raw key down. If digest is not 0, its metrics are
// what the group holds of its families, by that digest.
func (b *Book) appendClaim(dst []byte, c *Claim, by writer, digest uint64) []byte {
	flags := byte(c.done) << claimDone
	for i, set := range []bool{c.Folds, c.Totals, c.Sweep, c.Evict, digest != 0} {
		if set {
			flags |= 1 << i
		}
	}
	dst = append(appendString(append(dst, flags), c.Group.ID()), c.Method...)
	dst = append(dst, 0)
	dst = appendString(appendWord(dst, uint64(by)), c.Job)
	dst = binary.AppendVarint(dst, int64(c.Entry))
	dst = append(dst, byte(c.OverBudget))
	older := int64(0)
	if !c.IfOlder.IsZero() {
		older = c.IfOlder.UnixNano()
	}
	dst = appendBudget(binary.AppendVarint(dst, older), &c.Budget)
	dst = binary.AppendUvarint(dst, uint64(len(c.Families)+len(c.hashes)))
	for _, name := range c.Families {
		dst = appendWord(dst, b.hash(name))
	}
	for _, name := range c.hashes {
		dst = appendWord(dst, name)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Success)))
	for _, f := range c.Success {
		dst = binary.AppendUvarint(dst, uint64(f))
	}
	if digest != 0 {
		return appendWord(dst, digest)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.Others)))
	for label, value := range c.Others {
		dst = appendWord(appendWord(dst, label), value)
	}
	return appendMetrics(dst, c)
}

// appendMetrics writes metrics down, each value of a label once.
func appendMetrics(dst []byte, c *Claim) []byte {
	index := map[wire.LabelValue]uint64{}
	var values []wire.LabelValue
	for _, some := range c.Values {
		for _, v := range some {
			if _, ok := index[v]; !ok {
				index[v] = uint64(len(values))
				values = append(values, v)
			}
		}
	}
	dst = appendLabelValues(dst, values)
	dst = binary.AppendUvarint(dst, uint64(len(c.Metrics)))
	for i := range c.Metrics {
		m := &c.Metrics[i]
		of := c.ValuesOf(m)
		dst = binary.AppendUvarint(appendWord(dst, m.Fingerprint), uint64(m.Family))
		dst = binary.AppendUvarint(binary.AppendUvarint(dst, uint64(m.Samples)), uint64(len(of)))
		for _, v := range of {
			dst = binary.AppendUvarint(dst, index[v])
		}
	}
	return dst
}

func appendLabelValues(dst []byte, values []wire.LabelValue) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	for _, v := range values {
		dst = appendWord(appendWord(dst, v.Label), v.Value)
	}
	return dst
}

func (r *reader) labelValues() []wire.LabelValue {
	values := make([]wire.LabelValue, r.Count(16))
	for i := range values {
		values[i] = wire.LabelValue{Label: r.Word(), Value: r.Word()}
	}
	return values
}

// read is a claim as it was written down.
type read struct {
	Claim
	by      writer
	digest  uint64
	repeats bool
}

func (r *reader) claim() (c read) {
	flags := r.Byte()
	c.Folds, c.Totals, c.Sweep, c.Evict = flags&claimFolds != 0, flags&claimTotals != 0, flags&claimSweep != 0, flags&claimEvict != 0
	c.repeats, c.done = flags&claimRepeats != 0, Outcome(flags>>claimDone)
	if c.done > Unknown {
		r.Fail()
	}
	c.Group = wire.KeyOf(r.Text())
	for b := r.Byte(); b != 0; b = r.Byte() {
		c.Method += string(rune(b))
	}
	c.by, c.Job, c.Entry, c.OverBudget = writer(r.Word()), r.Text(), int(r.Varint()), OverBudget(r.Byte())
	if older := r.Varint(); older != 0 {
		c.IfOlder = time.Unix(0, older)
	}
	c.Budget = r.budget()
	c.hashes = r.words()
	c.Success = make([]int32, r.Count(1))
	for i := range c.Success {
		c.Success[i] = int32(r.uint32())
	}
	if c.repeats {
		c.digest = r.Word()
		return c
	}
	if n := r.Count(16); n > 0 {
		c.Others = make(map[uint64]uint64, n)
		for range n {
			label := r.Word()
			c.Others[label] = r.Word()
		}
	}
	r.metrics(&c.Claim)
	return c
}

func (r *reader) metrics(c *Claim) {
	values := r.labelValues()
	c.Metrics = make([]MetricClaim, r.Count(11))
	for i := range c.Metrics {
		m := &c.Metrics[i]
		m.Fingerprint, m.Family, m.Samples = r.Word(), int32(r.uint32()), int32(r.uint32())
		of := make([]wire.LabelValue, r.Count(1))
		for j := range of {
			at := r.Uvarint()
			if at >= uint64(len(values)) {
				r.Fail()
				c.Metrics = nil
				return
			}
			of[j] = values[at]
		}
		m.Values = c.AddValues(of)
	}
}

// repeats returns a digest of what a group holds of the families of a claim, if the
// claim brings just that; else 0. The book is locked.
func (b *Book) repeats(c *Claim) uint64 {
	g := findIn(b.table(c.Totals), c.Group)
	if g == nil || !g.exists || g.unsure || c.Method == http.MethodDelete || len(c.Families) == 0 {
		return 0
	}
	d := drafts.Get().(*draft)
	defer d.free()
	if d.fill(b, c) != nil {
		return 0
	}
	for slot, f := range d.families(g) {
		es := d.of(slot)
		if f.name == 0 || len(es) != len(f.prints) {
			return 0
		}
		for i := range es {
			if es[i].print != f.prints[i] || uint64(es[i].samples) != f.size(i) {
				return 0
			}
		}
	}
	return b.digest(d, g)
}

// digest is one of what a group holds of the families of a draft, never 0.
func (b *Book) digest(d *draft, g *group) uint64 {
	var buf []byte
	for _, f := range d.families(g) {
		buf = binary.AppendUvarint(appendWord(buf, f.name), uint64(len(f.prints)))
		for i, p := range f.prints {
			buf = binary.AppendUvarint(appendWord(buf, p), f.size(i))
		}
	}
	return max(1, siphash.Hash(b.hashKey.k0, b.hashKey.k1, buf))
}

// recall makes the draft of a claim that repeats what the group holds. It reports
// whether the group still holds that.
func (d *draft) recall(b *Book, g *group, c *read) bool {
	if !g.exists || g.unsure || d.fill(b, &c.Claim) != nil || b.digest(d, g) != c.digest {
		return false
	}
	d.entries = d.entries[:0]
	for slot, f := range d.families(g) {
		d.starts[slot] = int32(len(d.entries))
		for i, p := range f.prints {
			d.entries = append(d.entries, entry{print: p, metric: int32(len(d.entries)), samples: int32(f.size(i))})
		}
	}
	d.starts[len(d.names)] = int32(len(d.entries))
	return true
}

func newReader(body []byte) reader { return reader{state.NewReader(body, errRecord)} }
