// Package console is what people look at: pages below /guard/ that tell which job
// holds what, what became of pushes and why, and which policy is in force.
//
// A page is made by the server, whole, and works without scripts; a script adds that
// it changes by itself, by server-sent events. Everything it needs is in the binary.
// All values come from outside: html/template escapes each, and the
// Content-Security-Policy permits no script and no style but the console's own files.
//
// However many look, the guard is asked at most once in a second or two: they share a
// snapshot, and what of it they look at alike is made once. What the console remembers is bounded, see history and feed.
package console

import (
	"context"
	"html/template"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
)

const (
	// fresh is how long a snapshot is shared.
	fresh = 2 * time.Second
	// maxStreams is how many pages may be live at a time.
	maxStreams = 32
	// mostJobs is how many jobs the pages know of: those that hold most.
	mostJobs = 10_000
)

// jobs tells what jobs hold.
type jobs interface {
	Jobs(n int) proxy.JobsView
	Job(name string, from, n int) (proxy.JobDetail, bool)
}

// policies tells which policy is in force.
type policies interface {
	Policy() proxy.PolicyView
	PolicyTexts() []policy.Text
	PolicyPlace(job, id string) policy.Place
}

// records reads the audit log.
type records interface {
	AuditPage(ctx context.Context, q url.Values, n int) (audit.Page, error)
	AuditFilter(q url.Values) (*audit.Filter, error)
	FollowAudit(n int) (*audit.Subscription, error)
}

// explainer tells what would become of a push.
type explainer interface {
	Explain(ctx context.Context, r proxy.Request, as string) (*proxy.Trace, error)
}

// Guard is what the pages tell of. *proxy.Guard is one.
type Guard interface {
	jobs
	policies
	records
	explainer
}

// Config is what a Console is made of. Its zero value is that of the defaults.
type Config struct {
	// Metrics are those of the guard and what is around it. Nil has none.
	Metrics prometheus.Gatherer
	// Apart says that what is served at / is on another address.
	Apart bool
	// Behind is the Pushgateway behind, empty where the guard keeps the snapshots.
	Behind string
	// Version is the guard's own.
	Version string
	// Pace is how often a live page looks for what is new. 0 is 2 seconds.
	Pace time.Duration
	// Now is the clock. Nil is that of the system.
	Now func() time.Time
}

// Console serves the pages. It is safe for concurrent use.
type Console struct {
	cfg   Config
	guard Guard
	mux   *http.ServeMux
	// templates are all pages and their parts.
	templates *template.Template
	history   *history
	feed      *feed
	streams   chan struct{}
	// explaining is held by the one who has a push explained.
	explaining chan struct{}
	closing    chan struct{}
	close      sync.Once

	mu   sync.Mutex
	last *snapshot
}

// New returns a console, to be shown a guard by Of before it serves.
func New(cfg Config) *Console {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Pace == 0 {
		cfg.Pace = fresh
	}
	c := &Console{
		cfg: cfg, templates: parse(), history: newHistory(), feed: newFeed(cfg.Now()),
		streams: make(chan struct{}, maxStreams), explaining: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	c.route()
	return c
}

// Of says which guard the pages tell of, from now on.
func (c *Console) Of(g Guard) {
	c.guard = g
	c.remember()
}

// Run follows the audit log and remembers once a minute what the jobs hold, until ctx
// ends.
func (c *Console) Run(ctx context.Context) error {
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var records <-chan audit.Live
	if s, err := c.guard.FollowAudit(maxFeed); err == nil {
		defer s.Close()
		for _, line := range s.Before {
			c.feed.add(line.Record, 0)
		}
		records = s.C
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-minute.C:
			c.remember()
		case r := <-records:
			c.feed.add(r.Record, r.Missed)
		}
	}
}

// Close ends all live pages, so that a server that stops need not wait for them. It
// may be called again.
func (c *Console) Close() { c.close.Do(func() { close(c.closing) }) }

// remember adds what there is now to the history.
func (c *Console) remember() {
	now := c.cfg.Now()
	c.history.add(now, c.look(now))
}

// snapshot is what the pages have in common, at one moment. It is not changed, but for
// what they share.
type snapshot struct {
	at     time.Time
	jobs   proxy.JobsView
	counts counts
	made
}

// snapshot returns one that is not older than fresh.
func (c *Console) snapshot() *snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	if c.last == nil || now.Sub(c.last.at) >= min(fresh, c.cfg.Pace) || now.Before(c.last.at) {
		c.last = c.look(now)
	}
	return c.last
}

func (c *Console) look(now time.Time) *snapshot {
	return &snapshot{at: now, jobs: c.guard.Jobs(mostJobs), counts: read(c.cfg.Metrics)}
}
