package spool

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/seldom"
	"github.com/pushguard/pushguard/proxy/wire"
)

const (
	// workers is how many groups of one upstream are delivered at once.
	workers = 4
	// firstProbe and lastProbe bound how often an upstream that is away is asked.
	firstProbe, lastProbe = 100 * time.Millisecond, 5 * time.Second
	// settles is how long an upstream that is back has to carry out what it had received
	// before: that must not come after what is delivered now.
	settles = time.Second
	// lastBackoff bounds how long a group waits whose delivery fails again and again
	// though the upstream answers others.
	lastBackoff = time.Minute
)

// lane is one upstream. It is guarded by the spool's lock.
type lane struct {
	number  int
	queue   *list.List // of *entry, the one to be tried next first
	down    bool       // nothing is sent until a probe is answered
	unsure  bool       // it may have received what it did not answer
	outage  seldom.Outage
	probing bool
	probe   time.Time // the next
	wait    time.Duration
	wake    chan struct{} // holds one for each worker
}

func newLane(number int) *lane {
	return &lane{number: number, queue: list.New(), wait: firstProbe, wake: make(chan struct{}, workers)}
}

// lost notes that an upstream did not answer.
func (s *Spool) lost(l *lane, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loseLane(l, err)
}

func (s *Spool) loseLane(l *lane, err error) {
	l.unsure = l.unsure || !errors.Is(err, gateway.ErrUnreachable)
	s.tell(l, err)
	if l.down {
		return
	}
	l.down, l.wait = true, firstProbe
	l.probe = time.Now().Add(l.wait)
	l.rouse()
}

// tell has the log have why an upstream takes nothing: of one that is known to be away the
// breaker tells itself that it is left alone. The lock is held.
func (s *Spool) tell(l *lane, err error) {
	if !(l.down && errors.Is(err, gateway.ErrOpen)) && l.outage.IsNew(err) {
		s.cfg.Logger.Warn("The Pushgateway is away: pushes are kept", "err", err)
	}
}

func (l *lane) rouse() {
	for {
		select {
		case l.wake <- struct{}{}:
		default:
			return
		}
	}
}

func (s *Spool) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lanes {
		l.rouse()
	}
}

// enqueue has a group be delivered, if it can be, in the lane of what comes first. The lock
// is held.
func (s *Spool) enqueue(e *entry) {
	if e.sending || e.unsafe || len(e.parts) == 0 {
		return
	}
	if l := s.lanes[s.cfg.Lane(e.key, e.parts[0].method)]; l != e.lane {
		s.unqueue(e)
		e.lane = l
	}
	if e.queued == nil {
		e.queued = e.lane.queue.PushBack(e)
	}
	select {
	case e.lane.wake <- struct{}{}:
	default:
	}
}

func (s *Spool) unqueue(e *entry) {
	if e.queued != nil {
		e.lane.queue.Remove(e.queued)
		e.queued = nil
	}
}

// Run delivers what waits, until ctx ends, and returns its error.
func (s *Spool) Run(ctx context.Context) error {
	go s.compact() // ends with the directory
	var all sync.WaitGroup
	for _, l := range s.lanes {
		for range workers {
			all.Go(func() { s.work(ctx, l) })
		}
	}
	all.Wait()
	return ctx.Err()
}

func (s *Spool) work(ctx context.Context, l *lane) {
	var push wire.Push
	for ctx.Err() == nil {
		e, probe, wait := s.next(l)
		switch {
		case probe:
			s.look(ctx, l)
		case e != nil:
			s.deliver(ctx, e, &push)
		default:
			timer := time.NewTimer(wait)
			select {
			case <-ctx.Done():
			case <-l.wake:
			case <-timer.C:
			}
			timer.Stop()
		}
	}
}

// next is what is to be done: a probe, or a group of which the first part is to be sent,
// or nothing for a while.
func (s *Spool) next(l *lane) (e *entry, probe bool, wait time.Duration) {
	const long = time.Minute
	if !s.listed.Load() {
		return nil, false, long
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if l.down {
		if l.probing || now.Before(l.probe) {
			return nil, false, max(time.Until(l.probe), firstProbe)
		}
		l.probing = true
		return nil, true, 0
	}
	wait = long
	for at := l.queue.Front(); at != nil; at = at.Next() {
		e := at.Value.(*entry)
		if e.unsafe { // it comes again once it is on disk
			continue
		}
		if left := e.retry.Sub(now); left > 0 {
			wait = min(wait, left)
			continue
		}
		s.unqueue(e)
		e.sending = true
		return e, false, 0
	}
	return nil, false, wait
}

// look asks whether an upstream is back.
func (s *Spool) look(ctx context.Context, l *lane) {
	err := s.cfg.Probe(ctx, l.number)
	s.mu.Lock()
	unsure := l.unsure
	s.mu.Unlock()
	if err == nil && unsure {
		select {
		case <-ctx.Done():
		case <-time.After(s.settles):
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.probing = false
	if err != nil {
		if ctx.Err() == nil {
			s.tell(l, err)
		}
		l.wait = min(2*l.wait, lastProbe)
		l.probe = time.Now().Add(l.wait)
		return
	}
	l.down, l.unsure = false, false
	l.outage.End()
	s.cfg.Logger.Info("The Pushgateway is back: what was kept is delivered", "groups", l.queue.Len())
	l.rouse()
}

// deliver sends the first part of a group.
func (s *Spool) deliver(ctx context.Context, e *entry, push *wire.Push) {
	s.mu.Lock()
	if len(e.parts) == 0 {
		e.sending = false
		s.mu.Unlock()
		return
	}
	p := e.parts[0]
	s.mu.Unlock()
	answer, err := s.Upstream.Do(ctx, p.request(e.key, push, s.cfg.Limits))
	again := !final(answer, err)
	s.mu.Lock()
	e.sending = false
	if len(e.parts) > 0 && e.parts[0] == p && (!again || e.superseded()) {
		s.assign(e, e.parts[1:])
		s.record(e)
	}
	if again {
		e.backoff = min(max(2*e.backoff, firstProbe), lastBackoff)
		e.retry = time.Now().Add(e.backoff)
		if ctx.Err() == nil && away(answer, err) {
			s.loseLane(e.lane, reason(answer, err))
		}
	} else {
		e.backoff, e.retry = 0, time.Time{}
	}
	s.enqueue(e)
	s.mu.Unlock()
	s.count(e, p, answer, again)
}

// final reports whether an answer is the last word on a write that was kept. What stands
// in the way of all writes, such as a password or a path that is wrong, is none: somebody
// will put it right.
func final(a gateway.Answer, err error) bool {
	if err != nil || away(a, nil) {
		return false
	}
	switch a.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return a.Status >= 200 && a.Status < 300
}

// superseded reports whether what comes behind the first part makes it needless.
func (e *entry) superseded() bool { return len(e.parts) > 1 && e.parts[1].method != http.MethodPost }

func (s *Spool) count(e *entry, p *part, a gateway.Answer, again bool) {
	switch {
	case again:
		s.stats.retried.Add(1)
	case a.Status >= 300:
		s.refused(e, p, a)
	default:
		s.stats.delivered.Add(1)
	}
}

// refused tells of a write that was answered 202 and will not be there.
func (s *Spool) refused(e *entry, p *part, a gateway.Answer) {
	s.stats.rejected.Add(1)
	s.cfg.Logger.Error("The Pushgateway refused a push that had been kept for it", "group", e.key.String(), "status", a.Status, "answer", string(a.Body[:min(len(a.Body), 200)]))
	if f := s.onRefusal.Load(); f != nil {
		(*f)(Refusal{Key: e.key, Method: p.method, Came: p.came, Status: a.Status, Body: a.Body, Bytes: len(p.body)})
	}
}
