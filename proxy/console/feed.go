package console

import (
	"fmt"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
)

// maxFeed is how many records the feed keeps.
const maxFeed = 1000

// feed is the newest records of the audit log, each with a number that grows, for all
// who look. It is safe for concurrent use.
type feed struct {
	born   int64 // tells it from that of another guard, or of before a restart
	mu     sync.Mutex
	ring   [maxFeed]audit.Record
	next   uint64        // the number of the next record
	missed int           // records that the console itself missed: they came too fast
	news   chan struct{} // closed when a record comes
}

func newFeed(now time.Time) *feed {
	return &feed{born: now.UnixNano(), news: make(chan struct{})}
}

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

// word is a mark as a page has it, who may come again with it to another guard, or to one
// that was started again: these go by the time.
func (f *feed) word(m mark, now time.Time) string {
	return fmt.Sprintf("%d-%d-%d", f.born, m.next, now.UnixNano())
}

// markOf is the mark that a word stands for: of another feed that of the first record since
// then, of none the end.
func (f *feed) markOf(word string) mark {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := mark{f.next, f.missed}
	var born, at int64
	var next uint64
	switch _, err := fmt.Sscanf(word, "%d-%d-%d", &born, &next, &at); {
	case err != nil:
	case born == f.born:
		m.next = min(next, f.next)
	default:
		for m.next > f.oldest() && f.ring[(m.next-1)%maxFeed].Time.UnixNano() > at {
			m.next--
		}
		if m.next == f.oldest() {
			m.next = 0 // there were others before, which are told of as missed
		}
	}
	return m
}

// oldest is the number of the oldest record that is kept; f.mu is held.
func (f *feed) oldest() uint64 { return max(f.next, maxFeed) - maxFeed }

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
	oldest := max(from.next, f.oldest())
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
