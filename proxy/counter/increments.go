package counter

// Reason is how an increment came about. The zero value is none.
type Reason uint8

// The reasons.
const (
	Grown   Reason = iota + 1 // it continues its baseline
	First                     // the source was not seen before, which is sure
	Counted                   // it may have been seen before; counted in full
	Ignored                   // it may have been seen before; it counts nothing and is the baseline
	Reset                     // it is below its baseline: the source began anew
	Late                      // it is below its baseline, and a later one was counted
	Added                     // nothing tells its source: added whole
	Retry                     // the push was counted before
)

// Increments are what one push adds. The zero value is ready for
// Book.Difference. Not safe for concurrent use.
type Increments struct {
	all []Increment
}

// All are the increments, one for each reading, in their order; those of zero are
// among them. They are valid until the next Difference.
func (i *Increments) All() []Increment { return i.all }

// Reason says how the increment of a reading came about.
func (i *Increments) Reason(reading int) Reason { return 0 }

// Commit books the readings as baselines and gives the increments to the sink;
// with nil, in a push of which only the baselines are to advance, to nobody. It
// is called once the push was applied, at most once. With state it returns when
// what it did survives the end of the process; an error says that it counts but
// may not survive. It may be called late: other groups commit between.
func (i *Increments) Commit(sink Sink) error { return nil }

// Periodic reports, after Commit, whether the anonymous counters of the group
// look like running totals that are added up over and over: in four pushes in a
// row none fell and one rose each time.
func (i *Increments) Periodic() bool { return false }
