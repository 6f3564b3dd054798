package console

import (
	"sync"

	"github.com/pushguard/pushguard/proxy/audit"
)

// maxFeed is how many records the feed keeps.
const maxFeed = 1000

// feed is the newest records of the audit log, each with a number that grows, for all
// who look. It is safe for concurrent use.
type feed struct {
	mu     sync.Mutex
	ring   [maxFeed]audit.Record
	next   uint64        // the number of the next record
	missed int           // records that were left out, for they came too fast
	news   chan struct{} // closed when a record comes
}

func newFeed() *feed { return &feed{news: make(chan struct{})} }

func (f *feed) add(r audit.Record, missed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring[f.next%maxFeed] = r
	f.next++
	f.missed += missed
	close(f.news)
	f.news = make(chan struct{})
}

// wait is closed when a record comes after this call.
func (f *feed) wait() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.news
}

// end is the number of the next record.
func (f *feed) end() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.next
}

// since returns up to n of the newest records that match from a number on, the newest
// first, and the number to go on from.
func (f *feed) since(from uint64, n int, match func(*audit.Record) bool) (out []audit.Record, next uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := from
	if f.next > maxFeed {
		oldest = max(from, f.next-maxFeed)
	}
	for i := f.next; i > oldest && len(out) < n; i-- {
		if r := &f.ring[(i-1)%maxFeed]; match(r) {
			out = append(out, *r)
		}
	}
	return out, f.next
}
