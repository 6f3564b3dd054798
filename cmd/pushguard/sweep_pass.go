package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	sweepWorkers = 8 // deletions that may wait for an answer at a time
	firstWait    = 100 * time.Millisecond
	longestWait  = 5 * time.Second
)

// sweepPass is one pass over the groups of an upstream.
type sweepPass struct {
	*sweepCommand
	upstream  *gateway.Upstream
	guarded   bool // the upstream keeps what was pushed since a given time
	utf8Names bool // the upstream unescapes label names
	warn      func()
	report    sweepReport
	stderr    io.Writer // of the progress
	progress  *progress // of deletions that are sent

	targets []*sweepTarget // oldest first
}

// sweepTarget is a group that was stale when the pass began.
type sweepTarget struct {
	gateway.Group
	seen time.Time // when it was last listed with the Stamp it has
	sent bool      // its DELETE may have been taken, and was not seen to work yet
	fate sweepFate
	note string // what is to be said of the fate
}

func (t *sweepTarget) settle(fate sweepFate, format string, args ...any) {
	t.fate, t.note, t.sent = fate, fmt.Sprintf(format, args...), false
}

// sweepListing is what the upstream held at a time.
type sweepListing struct {
	at     time.Time // before it was asked
	took   time.Duration
	groups []gateway.Group
}

func (p *sweepPass) list(ctx context.Context) (sweepListing, error) {
	ctx, cancel := context.WithTimeout(ctx, p.listingTimeout)
	defer cancel()
	at := time.Now()
	groups, err := p.upstream.Groups(ctx, 0)
	return sweepListing{at, time.Since(at), groups}, err
}

// run returns an error if a stale group was not deleted.
func (p *sweepPass) run(ctx context.Context) error {
	listing, err := p.list(ctx)
	if err != nil {
		return err
	}
	p.choose(listing)
	if len(p.targets) > 0 && p.warn != nil {
		p.warn()
	}
	if p.dryRun {
		for _, t := range p.open() {
			t.settle(sweepWould, "")
		}
	} else {
		p.progress = startProgress(p.stderr, "deleting", len(p.open()))
		p.report.out = p.progress.above(p.report.out)
		p.abandon(p.sweep(ctx, listing))
		p.progress.end()
	}
	p.report.tell(p.targets)
	return p.report.end(len(listing.groups), len(p.targets))
}

// choose makes the stale groups the targets, those that cannot be addressed
// settled.
func (p *sweepPass) choose(l sweepListing) {
	for _, g := range l.groups {
		if !p.job.MatchString(g.Key.Job()) || l.at.Sub(lastPush(g)) < p.olderThan {
			continue
		}
		t := &sweepTarget{Group: g, seen: l.at}
		if lastPush(g).IsZero() {
			t.settle(sweepKept, "it has no time of a push")
		} else if fault := p.unaddressable(g.Key); fault != "" {
			t.settle(sweepFailed, "%s", fault)
		}
		p.targets = append(p.targets, t)
	}
	slices.SortStableFunc(p.targets, func(a, b *sweepTarget) int {
		return cmp.Or(lastPush(a.Group).Compare(lastPush(b.Group)), strings.Compare(a.Key.ID(), b.Key.ID()))
	})
}

// lastPush is the time that a group's age counts from.
func lastPush(g gateway.Group) time.Time {
	if g.Pushed.IsZero() {
		return g.Failed
	}
	return g.Pushed
}

// unaddressable says why no request can name the group, if none can.
func (p *sweepPass) unaddressable(key wire.Key) string {
	for _, l := range key.Labels() {
		if strings.ContainsRune(l.Name, utf8.RuneError) || strings.ContainsRune(l.Value, utf8.RuneError) {
			return "a label is not UTF-8, and the listing does not tell its bytes: delete it by hand, with the value as NAME@base64/VALUE"
		}
	}
	if read, err := wire.ParsePath(key.Path(), p.utf8Names); err != nil || !read.Equal(key) {
		return "no path names it: delete it by hand"
	}
	return ""
}

// open are the targets whose fate is not known.
func (p *sweepPass) open() []*sweepTarget {
	var open []*sweepTarget
	for _, t := range p.targets {
		if t.fate == 0 {
			open = append(open, t)
		}
	}
	return open
}

// sweep deletes what is open, in batches, each of what was listed right before
// it, and reads back what became of it. The error is why it ended early.
func (p *sweepPass) sweep(ctx context.Context, l sweepListing) error {
	pace := time.NewTicker(max(time.Duration(float64(time.Second)/p.rate), 1))
	defer pace.Stop()
	for due := p.open(); len(due) > 0; {
		n := p.batch(l, len(due))
		if err := p.deleteAll(ctx, due[:n], pace.C); err != nil {
			return err
		}
		if due = due[n:]; len(due) == 0 {
			break
		}
		var err error
		if l, err = p.list(ctx); err != nil {
			return err
		}
		p.compare(l)
		p.report.tell(p.targets)
		due = p.unsent()
	}
	return p.verify(ctx)
}

// batch is how many to delete before the groups are listed again. Where nobody
// keeps what is pushed meanwhile, no more than are deleted in the time that the
// listing takes, or in a second.
func (p *sweepPass) batch(l sweepListing, due int) int {
	if p.guarded {
		return due
	}
	return min(due, max(1, int(p.rate*max(l.took, time.Second).Seconds())))
}

func (p *sweepPass) unsent() []*sweepTarget {
	return slices.DeleteFunc(p.open(), func(t *sweepTarget) bool { return t.sent })
}

// deleteAll sends the deletions, as fast as the pace permits, and awaits their
// answers.
func (p *sweepPass) deleteAll(ctx context.Context, batch []*sweepTarget, pace <-chan time.Time) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	free := make(chan struct{}, sweepWorkers)
	for _, t := range batch {
		select {
		case <-pace:
		case <-ctx.Done():
			return ctx.Err()
		}
		free <- struct{}{}
		workers.Go(func() {
			defer func() { <-free }()
			p.delete(ctx, t)
			p.progress.add(1)
		})
	}
	return nil
}

// delete sends the DELETE of one group, on condition that it was not pushed
// since; a Pushgateway alone takes no notice of that.
func (p *sweepPass) delete(ctx context.Context, t *sweepTarget) {
	since := unmodifiedSince(lastPush(t.Group), t.seen)
	answer, err := p.upstream.Do(ctx, gateway.Request{
		Method: http.MethodDelete,
		Key:    t.Key,
		Header: http.Header{
			"If-Unmodified-Since": {since.UTC().Format(http.TimeFormat)},
			"User-Agent":          {product()},
		},
	})
	switch {
	case errors.Is(err, gateway.ErrUnreachable), errors.Is(err, gateway.ErrRedirect):
		t.settle(sweepFailed, "%v", err)
	case err != nil, answer.Status == http.StatusAccepted: // without an answer it may have been deleted
		t.sent = true
	case answer.Status == http.StatusPreconditionFailed && strings.Contains(string(answer.Body), "the policy keeps"):
		t.settle(sweepKept, "the policy keeps it")
	case answer.Status == http.StatusPreconditionFailed:
		t.settle(sweepKept, "pushed meanwhile")
	default:
		body, _, _ := strings.Cut(string(answer.Body), "\n")
		t.settle(sweepFailed, "status %d %.200q", answer.Status, body)
	}
}

// unmodifiedSince is a time at which the group was as it was listed, to be told
// in whole seconds. It is as far from the push as from the listing, whose clocks
// may differ, so long as a second leaves room for that.
func unmodifiedSince(pushed, listed time.Time) time.Time {
	if age := listed.Sub(pushed); age >= 2*time.Second {
		return pushed.Add(age / 2).Truncate(time.Second)
	}
	return pushed.Add(time.Second - 1).Truncate(time.Second)
}

// compare settles what the listing tells of the open targets: what was sent and
// is gone is deleted, what has another time was pushed.
func (p *sweepPass) compare(l sweepListing) {
	groups := make(map[string]gateway.Group, len(l.groups))
	for _, g := range l.groups {
		groups[g.Key.ID()] = g
	}
	for _, t := range p.open() {
		g, there := groups[t.Key.ID()]
		switch {
		case !there && t.sent:
			t.settle(sweepDeleted, "")
		case !there:
			t.settle(sweepGone, "somebody else deleted it")
		case g.Stamp != t.Stamp:
			t.settle(sweepKept, "pushed meanwhile")
		default:
			t.seen = l.at
		}
	}
}

// verify lists the groups until everything sent is settled or the time is up: a
// Pushgateway queues deletions, behind pushes that may take long. The error is
// that of the last listing.
func (p *sweepPass) verify(ctx context.Context) error {
	deadline := time.Now().Add(p.timeout)
	for wait := firstWait; len(p.open()) > 0; wait = min(2*wait, longestWait) {
		l, err := p.list(ctx)
		if err == nil {
			p.compare(l)
		}
		if len(p.open()) == 0 || time.Now().Add(wait).After(deadline) {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// abandon settles what is still open, for the reason given if there is one.
func (p *sweepPass) abandon(err error) {
	for _, t := range p.open() {
		switch {
		case err == nil:
			t.settle(sweepFailed, "it is still there, as it was, %v after it was to be deleted", p.timeout)
		case t.sent:
			t.settle(sweepFailed, "nobody saw whether it is gone: %v", err)
		default:
			t.settle(sweepFailed, "not tried: %v", err)
		}
	}
}
