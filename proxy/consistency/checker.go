// Package consistency checks pushes to a Pushgateway that does not: one that runs with
// --push.disable-consistency-check, which takes a push in a time that does not grow with
// what it holds, but believes everything. A type that contradicts another group's gets
// 202 there, and from then on every scrape of it fails.
//
// A Checker stands before such a Pushgateway and answers as one with the check does: 200,
// or 400 with its words, in the time it takes to read the push. For that it must be the
// only writer. What others write it learns with the next listing.
package consistency

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Upstream is the Pushgateway behind, as a Checker needs it. *gateway.Upstream is one.
type Upstream interface {
	Do(ctx context.Context, r gateway.Request) (gateway.Answer, error)
	Forward(ctx context.Context, escapedPath string, r gateway.Request) (gateway.Answer, error)
	Groups(ctx context.Context, seed uint64) ([]gateway.Group, error)
	OwnFamilies(ctx context.Context) (map[string]dto.MetricType, error)
	Started(ctx context.Context) (time.Time, error)
	Proxy() http.Handler
}

// Checker is an Upstream with a check in front. Groups must have listed what there is
// before the first Do. It is safe for concurrent use, but for pushes and deletes of one
// group, which the caller has come one after the other.
type Checker struct {
	Upstream
	logger *slog.Logger
	seed   atomic.Uint64 // of fingerprints; as Groups was given it last

	listing sync.Mutex // one at a time
	started time.Time  // when the upstream started whose own families are known; guarded by listing
	asked   atomic.Pointer[time.Time]
	own     map[string]dto.MetricType // guarded by listing
	untold  bool                      // not all of them are known; guarded by listing

	mu   sync.Mutex
	book *book
}

// New returns a checker before the upstream. The logger is told of contradictions that
// others have brought there.
func New(upstream Upstream, logger *slog.Logger) *Checker {
	return &Checker{Upstream: upstream, logger: logger, book: newBook()}
}

// inconsistent begins the answer to a push that contradicts itself or what is held.
const inconsistent = "pushed metrics are invalid or inconsistent with existing metrics: "

// Do checks a push, which r.Push and r.Fates must hold, and sends it on if nothing
// contradicts it. Deletes go on as they are.
func (c *Checker) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	if r.Method == http.MethodDelete {
		return c.remove(ctx, r)
	}
	families, err := read(r, c.seed.Load())
	if err == nil {
		err = c.reserve(r, families)
	}
	if errors.Is(err, errUnsure) {
		return gateway.Answer{}, err
	}
	if err != nil {
		return c.refuse(ctx, r, err), nil
	}
	answer, err := c.Upstream.Do(ctx, r)
	c.settle(r.Key, answer, err)
	if answer.Status == http.StatusAccepted { // the word of one that has not looked
		answer.Status = http.StatusOK
	}
	return answer, err
}

func (c *Checker) reserve(r gateway.Request, families []family) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.book.reserve(r.Key, families, r.Method == http.MethodPut, c.seed.Load())
}

// settle has a group hold what it was pushed, or what it held before. If nobody knows it
// holds both, as far as others are concerned, until it is listed.
func (c *Checker) settle(key wire.Key, a gateway.Answer, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && a.Status >= 200 && a.Status < 300:
		c.book.apply(key)
	case untouched(err) || err == nil && a.Status >= 400 && a.Status < 500:
		c.book.withdraw(key)
	default:
		c.book.doubt(key)
	}
}

func untouched(err error) bool {
	return errors.Is(err, gateway.ErrUnreachable) || errors.Is(err, gateway.ErrRedirect)
}

// refuse answers a push that contradicts something. A Pushgateway that refuses a push
// itself says so in push_failure_time_seconds of the group, which it makes if it is not
// there. One without the check does that still for a push with a timestamp, and so gets
// one: of nothing that was pushed.
func (c *Checker) refuse(ctx context.Context, r gateway.Request, why error) gateway.Answer {
	marker := gateway.Request{
		Method: http.MethodPost, Key: r.Key, Header: r.Header, RemoteAddr: r.RemoteAddr,
		Body: []byte("refused 0 0\n"), ContentType: wire.TextType,
	}
	if _, err := c.Upstream.Do(ctx, marker); err != nil {
		c.logger.Warn("A refused push is not noted in the Pushgateway's push_failure_time_seconds", "group", r.Key.String(), "err", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.book.enter(r.Key)
	return refusal(why)
}

func refusal(why error) gateway.Answer {
	return gateway.Answer{
		Status: http.StatusBadRequest,
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}},
		Body:   []byte(inconsistent + why.Error() + "\n"),
	}
}

func (c *Checker) remove(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	answer, err := c.Upstream.Do(ctx, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && answer.Status >= 200 && answer.Status < 300 {
		c.book.remove(r.Key)
	} else {
		c.book.touch(r.Key)
	}
	return answer, err
}

// Forward forgets every group with a wipe that has succeeded.
func (c *Checker) Forward(ctx context.Context, escapedPath string, r gateway.Request) (gateway.Answer, error) {
	answer, err := c.Upstream.Forward(ctx, escapedPath, r)
	if escapedPath == gateway.WipePath && err == nil && answer.Status >= 200 && answer.Status < 300 {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.book.wipe()
	}
	return answer, err
}

// Started is when the upstream started. After another time than before the next listing
// asks for its own families, too: it may be of another version.
func (c *Checker) Started(ctx context.Context) (time.Time, error) {
	t, err := c.Upstream.Started(ctx)
	if err == nil {
		c.asked.Store(&t)
	}
	return t, err
}

// Groups lists what the upstream holds, and has pushes held to that: but for groups that
// were pushed to since it was asked, or seconds before, of which it may not tell yet, and
// those of which the listing says nothing: the error is then a *gateway.Partial.
func (c *Checker) Groups(ctx context.Context, seed uint64) ([]gateway.Group, error) {
	c.listing.Lock()
	defer c.listing.Unlock()
	c.seed.Store(seed)
	asked := time.Now()
	groups, err := c.Upstream.Groups(ctx, seed)
	var partial *gateway.Partial
	unknown := func(wire.Key) bool { return false }
	if errors.As(err, &partial) {
		unknown = partial.Unknown
	} else if err != nil {
		return nil, err
	}
	restarted, untold := c.restarted(), c.untold
	if err := c.readOwn(ctx); err != nil && !untold {
		c.logger.Warn("The Pushgateway does not tell which families it exposes of itself: pushes are not held to those", "err", err)
	}
	fresh := newBook()
	fresh.hold(c.own)
	contradictions := fresh.list(slices.DeleteFunc(slices.Clone(groups), func(g gateway.Group) bool { return unknown(g.Key) }))
	c.mu.Lock()
	defer c.mu.Unlock()
	contradictions += fresh.keep(c.book, asked, restarted, unknown)
	if c.book = fresh; contradictions > 0 {
		c.logger.Warn("The Pushgateway holds families that contradict one another, so that its scrape fails: delete the groups that are wrong", "families", contradictions)
	}
	return groups, err
}

// restarted reports whether the upstream has started since it was listed last.
func (c *Checker) restarted() bool {
	now := c.asked.Load()
	return now != nil && !c.started.IsZero() && !now.Equal(c.started)
}

// readOwn asks for the upstream's own families if that was not done since it started, or
// did not tell all: what comes beside an error counts, too, and what was known before stays.
func (c *Checker) readOwn(ctx context.Context) error {
	now := c.asked.Load()
	if c.own != nil && !c.untold && (now == nil || now.Equal(c.started)) {
		return nil
	}
	own, err := c.Upstream.OwnFamilies(ctx)
	known := knownOwn(own)
	if err != nil {
		for name, typ := range c.own {
			if _, told := own[name]; !told {
				known[name] = typ
			}
		}
	}
	c.own, c.untold = known, err != nil
	if now != nil {
		c.started = *now
	}
	return err
}
