package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/seldom"
)

// mostRead is how many pages are read at once.
const mostRead = 16

// readers bounds how many pages are read at once: what one is made of is kept as long as
// it is read, whatever is pushed meanwhile, and a client that takes nothing reads for ever.
// Of too many the longest of the client that reads the most is cut off, so that nobody
// keeps others from reading. Safe for concurrent use.
type readers struct {
	logger *slog.Logger

	mu   sync.Mutex
	open []*reader // the longest first
	cut  seldom.Warning
}

// reader is a page that is read.
type reader struct {
	client string // the network that it has
	to     *http.ResponseController
	end    context.CancelFunc // of what makes the page
}

// bound is a handler of pages among those that are bounded together.
func (g *Guard) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		page := &reader{network(g.client(r)), http.NewResponseController(w), cancel}
		g.readers.enter(page)
		defer g.readers.leave(page)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// boundAnswers is a handler of answers that are made before they are written: each is
// among those that are bounded from its first byte on.
func (g *Guard) boundAnswers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &ownAnswer{w, &g.answers, &reader{network(g.client(r)), http.NewResponseController(w), func() {}}, false}
		defer g.answers.leave(answer.page)
		next.ServeHTTP(answer, r)
	})
}

// ownAnswer is the writer of an answer that is read once it is written.
type ownAnswer struct {
	http.ResponseWriter
	all  *readers
	page *reader
	read bool
}

// WriteHeader is part of http.ResponseWriter.
func (a *ownAnswer) WriteHeader(status int) {
	a.begin()
	a.ResponseWriter.WriteHeader(status)
}

// Write is part of http.ResponseWriter.
func (a *ownAnswer) Write(b []byte) (int, error) {
	a.begin()
	return a.ResponseWriter.Write(b)
}

func (a *ownAnswer) begin() {
	if !a.read {
		a.read = true
		a.all.enter(a.page)
	}
}

// Unwrap is for http.ResponseController.
func (a *ownAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (r *readers) enter(page *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = append(r.open, page)
	if len(r.open) <= mostRead {
		return
	}
	longest := r.longest()
	_ = r.open[longest].to.SetWriteDeadline(time.Now())
	r.open[longest].end()
	r.cut.Log(r.logger, "A page that was read for long was cut off: many are read at once", "client", r.open[longest].client, "limit", mostRead)
	r.open = slices.Delete(r.open, longest, longest+1)
}

// longest is which page of the client that reads the most has been read the longest; of
// several such clients the one that began first.
func (r *readers) longest() int {
	reads := map[string]int{}
	for _, page := range r.open {
		reads[page.client]++
	}
	longest := 0
	for i, page := range r.open {
		if reads[page.client] > reads[r.open[longest].client] {
			longest = i
		}
	}
	return longest
}

// leave takes one out that is not cut off from now on.
func (r *readers) leave(page *reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.open, page); i >= 0 { // else it was
		r.open = slices.Delete(r.open, i, i+1)
	}
}
