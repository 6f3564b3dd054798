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
	missed int           // records that the console itself missed: they came too fast
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

// end is the mark of who has read all.
func (f *feed) end() mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	return mark{f.next, f.missed}
}

// recent returns all that match, the newest first.
func (f *feed) recent(match func(*audit.Record) bool) []audit.Record {
	out, _ := f.since(mark{}, maxFeed, match)
	return out.Records
}

// mark is how far somebody has read: the number of the next record, and how many the
// console had missed.
type mark struct {
	next   uint64
	missed int
}

// news are records, the newest first, and how many more there were: of those that the
// feed has no more it cannot tell whether they match.
type news struct {
	Records []audit.Record
	Missed  int
}

// since returns up to n of the newest records that match from a mark on, and the mark to
// go on from.
func (f *feed) since(from mark, n int, match func(*audit.Record) bool) (out news, next mark) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest := from.next
	if f.next > maxFeed {
		oldest = max(oldest, f.next-maxFeed)
	}
	out.Missed = int(oldest-from.next) + f.missed - from.missed
	for i := f.next; i > oldest; i-- {
		switch r := &f.ring[(i-1)%maxFeed]; {
		case !match(r):
		case len(out.Records) == n:
			out.Missed++
		default:
			out.Records = append(out.Records, *r)
		}
	}
	return out, mark{f.next, f.missed}
}
