package counter

import (
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

// restorer applies units to a book and totals that nobody uses yet.
type restorer struct {
	book   *Book
	totals *Totals
	births map[uint64]*total
	units  int
	floats []float64
}

func (r *restorer) apply(unit []byte) error {
	r.units++
	in := reader{state.NewReader(unit, errUnit)}
	for in.Len() > 0 {
		switch in.Byte() {
		case recordBaseline:
			r.baseline(&in)
		case recordForgotten:
			group := in.Word()
			r.book.shardOf(group).forgetGroup(group)
		case recordAnew:
			r.book.anew(nil)
		case recordKey:
			key, until := in.identity(), in.Varint()
			r.book.retries.remember(key, until)
		case recordWatermark:
			r.book.raise(in.Varint())
		case recordBirth:
			r.birth(&in)
		case recordTotal:
			r.total(&in)
		case recordGone:
			r.gone(in.Uvarint())
		default:
			return errUnit
		}
	}
	return in.Err()
}

func (r *restorer) baseline(in *reader) {
	key, group, seen, last := in.identity(), in.Word(), uint32(in.Uvarint()), in.float()
	r.floats = in.floats(r.floats[:0])
	if in.Err() == nil {
		s := r.book.shardOf(group)
		s.assign(key, group, seen, last, r.floats)
		s.settle()
	}
}

func (r *restorer) birth(in *reader) {
	born, created, what := in.Uvarint(), in.Varint(), in.Byte()
	kind, name, help := Kind(in.Byte()), in.Text(), in.Text()
	ls, bounds := in.labels(), in.floats(nil)
	if in.Err() != nil || kind < Counter || kind > Summary || !ascend(bounds) {
		in.Fail()
		return
	}
	t := r.totals
	f := t.families[name]
	if f == nil {
		f = t.hold(name, kind)
	}
	to := f.totals[labelsKey(ls)]
	if to == nil {
		to = t.bear(f, ls, bounds)
	}
	f.help = help
	to.born, to.created, to.other = born, created, what&isOther != 0
	to.bounds, to.buckets = bounds, make([]float64, len(bounds))
	r.births[born] = to
	t.births = max(t.births, born)
	if what&isUnseen == 0 {
		t.scrapers.kept = max(t.scrapers.kept, born)
	}
}

func (r *restorer) total(in *reader) {
	born, value, sum, buckets := in.Uvarint(), in.float(), in.float(), in.floats(nil)
	to := r.births[born]
	if in.Err() != nil || to == nil || len(buckets) != len(to.bounds) {
		return // what it was is in a damaged part of the log, if it is not itself
	}
	to.value, to.sum, to.buckets = value, sum, buckets
}

// gone forgets a total.
func (r *restorer) gone(born uint64) {
	to := r.births[born]
	if to == nil {
		return
	}
	delete(r.births, born)
	f := to.family
	if key := labelsKey(to.labels); f.totals[key] == to {
		delete(f.totals, key)
		f.sorted = nil
		r.totals.count--
	}
	if len(f.totals) == 0 && r.totals.families[f.name] == f {
		r.totals.release(f)
	}
}

// relevant is how long a baseline may be seen again without being written again:
// until then only what it holds matters.
const relevant = uint32(10 * time.Minute / time.Second)
