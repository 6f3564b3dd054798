package event

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// Limits bound what waits for one sink. A zero field means its default.
type Limits struct {
	// Records and Memory bound what is kept in memory: 10,000 records, 16 MiB of
	// them. With a directory that is only what the disk did not take.
	Records int
	Memory  int64
	// Disk bounds the files: 256 MiB.
	Disk int64
}

func (l Limits) withDefaults() Limits {
	if l.Records <= 0 {
		l.Records = 10_000
	}
	if l.Memory <= 0 {
		l.Memory = 16 << 20
	}
	if l.Disk <= 0 {
		l.Disk = 256 << 20
	}
	return l
}

// The reasons for which a queue drops records.
const (
	full       = "queue_full"
	unreadable = "unreadable"
)

var errClosed = errors.New("the queue is closed")

// queue is what waits for one sink. It is safe for concurrent use, but next and
// done are for one goroutine. drop is told what was dropped, with the queue locked.
type queue struct {
	limits Limits
	spool  *spool // nil: in memory alone
	drop   func(l lane, reason string, n int)
	ready  chan struct{} // holds one: something was added

	mu      sync.Mutex
	seq     uint64
	lanes   [laneCount]fifo // in memory
	records int
	bytes   int64
	onWay   []item // that next took, and that are not on the disk that there is
	closed  bool
}

// newQueue returns a queue. A spool brings what it holds already.
func newQueue(limits Limits, s *spool, drop func(l lane, reason string, n int)) *queue {
	q := &queue{limits: limits.withDefaults(), spool: s, drop: drop, ready: make(chan struct{}, 1)}
	if s != nil {
		q.seq = s.lastSeq
		s.start(q)
		q.signal()
	}
	return q
}

// add adds a record. It never waits.
func (q *queue) add(l lane, json []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		q.drop(l, "closed", 1)
		return
	}
	q.seq++
	i := item{seq: q.seq, lane: l, json: json}
	if q.spool != nil && q.spool.append(i) {
		return
	}
	q.keep(i)
	q.makeRoom()
	q.signal()
}

// spill takes what the disk did not, in the order of what came meanwhile.
func (q *queue) spill(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, i := range items {
		q.keep(i)
	}
	for l := range q.lanes {
		inOrder(q.lanes[l].items[q.lanes[l].head:])
	}
	q.makeRoom()
	q.signal()
}

// unload takes all that is in memory, for the disk.
func (q *queue) unload() (out [laneCount][]item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for l := range lane(laneCount) {
		for q.lanes[l].len() > 0 {
			out[l] = append(out[l], q.take(l))
		}
	}
	return out
}

// unsecured takes what is on its way and not on disk.
func (q *queue) unsecured() (out [laneCount][]item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, i := range q.onWay {
		out[i.lane] = append(out[i.lane], i)
	}
	q.onWay = nil
	return out
}

// unsecure notes that items are on their way and not on disk.
func (q *queue) unsecure(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.onWay = append(q.onWay, items...)
}

// lost is how many records go with the process, of those on their way among them that were
// given up.
func (q *queue) lost(givenUp []item) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.records
	if q.spool != nil {
		n += q.spool.gone(givenUp)
	}
	for _, i := range givenUp {
		if q.spool == nil || slices.ContainsFunc(q.onWay, func(o item) bool { return o.seq == i.seq }) {
			n++
		}
	}
	return n
}

// keep keeps an item in memory. q.mu is held.
func (q *queue) keep(i item) {
	q.lanes[i.lane].push(i)
	q.records++
	q.bytes += i.size()
}

// makeRoom drops what memory has no room for. q.mu is held.
func (q *queue) makeRoom() {
	for l := lane(0); l < laneCount; l++ {
		for q.lanes[l].len() > 0 && (q.records > q.limits.Records || q.bytes > q.limits.Memory) {
			q.take(l)
			q.drop(l, full, 1)
		}
	}
}

// take takes the oldest item of a lane out of memory. q.mu is held.
func (q *queue) take(l lane) item {
	i := q.lanes[l].pop()
	q.records--
	q.bytes -= i.size()
	return i
}

func (q *queue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// size is what waits, what is on its way left out.
func (q *queue) size() (records int, bytes int64) {
	records, bytes = q.inMemory()
	if q.spool != nil {
		n, size := q.spool.size()
		records, bytes = records+n, bytes+size
	}
	return records, bytes
}

// fill is how full it is, from 0 to 1, by the bound that is nearest.
func (q *queue) fill() float64 {
	records, bytes := q.inMemory()
	full := max(float64(records)/float64(q.limits.Records), float64(bytes)/float64(q.limits.Memory))
	if q.spool != nil {
		_, bytes := q.spool.size()
		full = max(full, float64(bytes)/float64(q.limits.Disk))
	}
	return full
}

// inMemory is what of it is lost with the process.
func (q *queue) inMemory() (records int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.records, q.bytes
}

// close has next end once nothing is left in it.
func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}

// batchLimits say when a batch goes.
type batchLimits struct {
	records int           // as many as are enough to go at once
	most    int           // as many as go together
	bytes   int           // and of how many bytes
	wait    time.Duration // how long the first waits for more
}

// next waits for records and returns the oldest, in the order in which they were
// added. They are the caller's until done. A queue that was closed is emptied
// without waiting for more, and ends with errClosed.
func (q *queue) next(ctx context.Context, limits batchLimits) ([]item, error) {
	for {
		if err := q.await(ctx, nil, 1); err != nil {
			return nil, err
		}
		timer := time.NewTimer(limits.wait)
		err := q.await(ctx, timer.C, limits.records)
		timer.Stop()
		if err != nil && !errors.Is(err, errClosed) {
			return nil, err
		}
		if items, err := q.collect(limits); len(items) > 0 || err != nil {
			return items, err
		}
	}
}

// await waits until so many records wait, or for the time to come.
func (q *queue) await(ctx context.Context, timeout <-chan time.Time, n int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		waiting, _ := q.size()
		if waiting >= n {
			return nil
		}
		q.mu.Lock()
		closed := q.closed
		q.mu.Unlock()
		if closed && (waiting == 0 || timeout != nil) {
			return errClosed
		}
		select {
		case <-q.ready:
		case <-timeout:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// collect merges the lanes, of memory and of disk, by the order of their records.
func (q *queue) collect(limits batchLimits) ([]item, error) {
	var out []item
	bytes := 0
	for len(out) < limits.most {
		if q.spool != nil {
			if err := q.spool.load(); err != nil {
				return out, err
			}
		}
		i, ok := q.oldest(limits.bytes - bytes - len(out))
		if !ok && len(out) == 0 {
			i, ok = q.oldest(1 << 30) // one that is larger than a batch goes alone
		}
		if !ok {
			break
		}
		out = append(out, i)
		bytes += len(i.json)
	}
	return out, nil
}

// oldest takes the oldest record if it has at most so many bytes.
func (q *queue) oldest(room int) (item, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	var first *item
	inMemory := true
	for l := range q.lanes {
		if q.lanes[l].len() > 0 && (first == nil || q.lanes[l].front().seq < first.seq) {
			first = q.lanes[l].front()
		}
	}
	if q.spool != nil {
		if i := q.spool.oldest(); i != nil && (first == nil || i.seq < first.seq) {
			first, inMemory = i, false
		}
	}
	switch {
	case first == nil || len(first.json) > room:
		return item{}, false
	case inMemory:
		i := q.take(first.lane)
		if q.spool != nil {
			q.onWay = append(q.onWay, i)
		}
		return i, true
	default:
		return q.spool.pop(first.lane), true
	}
}

// done marks records as delivered, or given up: they do not come again.
func (q *queue) done(items []item) error {
	if q.spool == nil {
		return nil
	}
	q.mu.Lock()
	q.onWay = nil
	q.mu.Unlock()
	return q.spool.done(items)
}
