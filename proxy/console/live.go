package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
)

const (
	// heartbeat is how often a stream says that it lives, slowest how long a reader may
	// take for a message before it is dropped, and streamLife how long a stream lasts:
	// whoever looks on comes again, and is asked again who they are.
	heartbeat  = 15 * time.Second
	slowest    = 10 * time.Second
	streamLife = 15 * time.Minute
	// maxNews is how many records a message has at most; the newest.
	maxNews = 50
)

// message is what a stream sends: a part of a page that is to replace the one before,
// or to stand in front of it.
type message struct {
	ID     string `json:"id"`
	HTML   string `json:"html"`
	Before bool   `json:"before,omitempty"`
	Number int    `json:"number,omitempty"` // of records
	Missed int    `json:"missed,omitempty"` // records that are not among them
}

// stream is one live page.
type stream struct {
	console *Console
	w       http.ResponseWriter
	out     *http.ResponseController
	query   url.Values
	filter  *audit.Filter
	next    mark   // in the feed
	last    string // the id of the last message that a reader who comes again had
	sent    uint64 // what was sent last, by its sum
}

// live serves a stream of what changes on a page.
func (c *Console) live(w http.ResponseWriter, r *http.Request) {
	s := &stream{console: c, w: w, out: http.NewResponseController(w), query: r.URL.Query(), last: cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("last"))}
	if err := s.prepare(); err != nil {
		http.Error(w, err.Error(), faultOf(err).status)
		return
	}
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, fmt.Sprintf("as many pages are live as may be, %d: this one shows what was when it was loaded", maxStreams), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	// A stream is no request that a client is slow to send.
	_ = s.out.SetReadDeadline(time.Time{})
	s.run(r)
}

// prepare reads what the stream is to be of.
func (s *stream) prepare() (err error) {
	switch page := s.query.Get("of"); page {
	case "overview", "jobs", "job":
		return nil
	case "audit":
		s.next = s.console.feed.markOf(cmp.Or(s.last, s.query.Get("from")))
		s.filter, err = s.console.guard.AuditFilter(s.query)
		return err
	default:
		return &fault{http.StatusBadRequest, "there is no such live page"}
	}
}

// run sends until somebody has enough: the reader, the console, or its time is over.
func (s *stream) run(r *http.Request) {
	pace, beat, end := time.NewTicker(s.console.cfg.Pace), time.NewTicker(heartbeat), time.NewTimer(streamLife)
	defer pace.Stop()
	defer beat.Stop()
	defer end.Stop()
	err := s.write("retry: 3000\n\n")
	for err == nil {
		var news <-chan struct{}
		if s.filter != nil {
			news = s.console.feed.wait()
		}
		if err = s.update(); err != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.console.closing:
			return
		case <-end.C:
			return
		case <-beat.C:
			err = s.write("event: here\ndata:\n\n") // a comment is not seen by a page's script
		case <-news:
			time.Sleep(100 * time.Millisecond) // records that come together go together
		case <-pace.C:
		}
	}
}

// update sends what is new.
func (s *stream) update() error {
	if s.filter != nil {
		return s.records()
	}
	v := s.console.view(s.query.Get("of"), s.query)
	if v.err != nil || v.sum == s.sent {
		return v.err
	}
	s.sent = v.sum
	return s.send(v.data)
}

// records sends the records that came.
func (s *stream) records() error {
	var found news
	found, s.next = s.console.feed.since(s.next, maxNews, s.filter.Matches)
	if len(found.Records) == 0 && found.Missed == 0 {
		return nil
	}
	html, err := s.console.fragment("record-news", found)
	if err != nil {
		return err
	}
	data, err := json.Marshal(message{ID: "records", HTML: html, Before: true, Number: len(found.Records), Missed: found.Missed})
	if err != nil {
		return err
	}
	if err := s.write("id: " + s.console.feed.word(s.next, s.console.cfg.Now()) + "\n"); err != nil {
		return err
	}
	return s.send(string(data))
}

// send sends a message.
func (s *stream) send(data string) error { return s.write("data: ", data, "\n\n") }

// write sends to the reader, who is dropped if they do not take it in time.
func (s *stream) write(texts ...string) error {
	_ = s.out.SetWriteDeadline(time.Now().Add(slowest))
	for _, text := range texts {
		if _, err := io.WriteString(s.w, text); err != nil {
			return err
		}
	}
	return s.out.Flush()
}
