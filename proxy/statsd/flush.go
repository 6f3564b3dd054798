package statsd

import (
	"context"
	"math"
	"time"
)

// refusedWait is how long a UDP peer's host is given to answer that nobody
// listens; it is not more than a quarter of the time between flushes.
const refusedWait = 20 * time.Millisecond

// flush sends what is due.
func (s *Sender) flush(ctx context.Context) {
	s.expire()
	if s.connected(ctx) && s.sendZeros(ctx) {
		s.sendAmounts(ctx, false)
	}
}

// expire forgets the series that nobody uses.
func (s *Sender) expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.age() - int64(s.cfg.IdleTTL)
	for sr := s.settled.back; sr != nil && sr.seen < before; sr = s.settled.back {
		s.forget(sr)
		s.stats.expired.Inc()
	}
}

// connected reports whether there is somebody to send to, as far as can be known
// before it is tried.
func (s *Sender) connected(ctx context.Context) bool {
	fresh, err := s.link.open(ctx)
	if err != nil {
		s.failed(ctx, err)
	}
	if s.link.conn == nil {
		return false
	}
	if fresh {
		s.mu.Lock()
		s.epoch++
		s.mu.Unlock()
		s.stats.connects.Inc()
	}
	switch {
	case s.link.network != "udp":
		if fresh {
			s.stats.up.Store(1)
		}
		return true
	case s.probe(ctx):
		s.there()
		return true
	}
	return false
}

// there notes that the server is there.
func (s *Sender) there() {
	s.stats.up.Store(1)
	if s.outage.End() {
		s.cfg.Logger.Info("the StatsD server is back", "address", s.cfg.Address.String())
	}
}

// probe sends a line that carries nothing over UDP and looks whether it is
// refused. With no series there is no line to send.
func (s *Sender) probe(ctx context.Context) bool {
	s.mu.Lock()
	s.packet.reset()
	if sr := s.beats.back; sr != nil {
		suffix, bound := sr.column(len(sr.pending) - 1)
		s.packet.line(sr, suffix, bound, 0)
		s.packet.parts = append(s.packet.parts, part{end: len(s.packet.buf)})
	}
	s.mu.Unlock()
	if len(s.packet.parts) == 0 {
		return true
	}
	_, err := s.write(ctx)
	if err == nil {
		err = s.link.refused(min(refusedWait, s.cfg.FlushEvery/4))
	}
	if err != nil {
		s.failed(ctx, err)
	}
	return err == nil
}

// sendZeros sends as zero every series that is new to the exporter, and those
// not sent so for a heartbeat. It reports whether that went well. Over UDP it
// takes half of the lines that may leave until the next flush, and the rest is
// left for that: amounts must not wait for ever while a great many series are
// born.
func (s *Sender) sendZeros(ctx context.Context) bool {
	now := s.age() // the same throughout, or it might never end
	left := math.MaxInt
	if s.link.network == "udp" {
		left = max(1, int(float64(s.cfg.Rate)*s.cfg.FlushEvery.Seconds()/2))
	}
	for {
		s.mu.Lock()
		s.packet.reset()
		for sr := s.beats.front; sr != nil && s.needsZero(sr, now); sr = sr.links[byBeat].next {
			if len(s.packet.parts) >= left || !s.packet.put(sr, true, s.limit) {
				break
			}
		}
		s.mu.Unlock()
		left -= len(s.packet.parts)
		if len(s.packet.parts) == 0 {
			return true
		}
		if !s.send(ctx) {
			return false
		}
	}
}

func (s *Sender) needsZero(sr *series, now int64) bool {
	return (s.cfg.ZeroHold > 0 && sr.epoch != s.epoch) ||
		(s.cfg.Heartbeat > 0 && now-sr.beat >= int64(s.cfg.Heartbeat))
}

// sendAmounts sends what is pending of each series that is not held. It stops at
// the first failure.
func (s *Sender) sendAmounts(ctx context.Context, heldToo bool) {
	s.mu.Lock()
	// Only this goroutine takes series from the queue, so at stays in it, and
	// what comes to it meanwhile is left for the next time.
	at, left := s.queued.front, s.queued.n
	s.mu.Unlock()
	for {
		s.mu.Lock()
		s.packet.reset()
		now := s.age()
		for ; left > 0; at, left = at.links[byUse].next, left-1 {
			if !heldToo && s.held(at, now) {
				continue
			}
			if !s.packet.put(at, false, s.limit) {
				break
			}
			clear(at.pending)
		}
		s.mu.Unlock()
		if len(s.packet.parts) == 0 || !s.send(ctx) {
			return
		}
	}
}

// held reports whether the exporter's scrapers may not have seen the zero yet.
func (s *Sender) held(sr *series, now int64) bool {
	return s.cfg.ZeroHold > 0 && (sr.epoch != s.epoch || now-sr.born < int64(s.cfg.ZeroHold))
}

// send sends the packet and books what became of it. It reports whether all of
// it was sent.
func (s *Sender) send(ctx context.Context) bool {
	n, err := s.write(ctx)
	s.bookAll(n, err)
	if err != nil {
		s.failed(ctx, err)
	}
	return err == nil
}

// bookAll books that n bytes of the packet were sent.
func (s *Sender) bookAll(n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && kindOf(err) == kindSize {
		n = s.tooLong()
	}
	now := s.age()
	for i := range s.packet.parts {
		p := &s.packet.parts[i]
		if p.end > n {
			p.series.giveBack(p)
		}
		if p.last {
			s.book(p, p.end <= n, now)
		}
	}
}

// book files a series after the last of its lines was sent or not.
func (s *Sender) book(p *part, sent bool, now int64) {
	sr := p.series
	switch {
	case sr.gone:
	case !p.zero && sr.empty():
		s.queued.remove(sr)
		sr.queued = false
		s.settled.pushFront(sr)
	case p.zero && sent && p.of == len(sr.pending):
		if sr.epoch != s.epoch {
			sr.epoch, sr.born = s.epoch, now
		}
		sr.beat = now
		s.beats.remove(sr)
		s.beats.pushBack(sr)
	}
}

// tooLong makes packets shorter after the kernel took none of this length. If a
// single series is too long by itself, so that nothing ever could be sent again,
// its lines count as sent, and what they carried as dropped.
func (s *Sender) tooLong() int {
	first := s.packet.parts[0].series
	last := s.packet.parts[len(s.packet.parts)-1]
	if first != last.series {
		s.limit = max(s.limit/2, 1)
		return 0
	}
	if !last.zero {
		s.stats.dropped[RefusedSize].Inc()
	}
	return len(s.packet.buf)
}

// write paces and writes the packet, and counts it.
func (s *Sender) write(ctx context.Context) (int, error) {
	if err := s.pacer.wait(ctx, len(s.packet.parts)); err != nil {
		return 0, err
	}
	n, err := s.link.write(ctx, s.packet.buf)
	if n == 0 {
		return n, err
	}
	lines := 0
	for lines < len(s.packet.parts) && s.packet.parts[lines].end <= n {
		lines++
	}
	s.stats.wrote(lines, n, s.cfg.Now())
	if err == nil && s.link.network != "udp" {
		s.there()
	}
	return n, err
}

// failed counts an error, unless it is that the time was up.
func (s *Sender) failed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	kind := kindOf(err)
	s.stats.errors[kind].Inc()
	if s.link.conn == nil || kind == kindTimeout {
		s.stats.up.Store(0)
	}
	if s.outage.IsNew(err) {
		s.cfg.Logger.Warn("the StatsD server takes nothing; what is pending stays", "address", s.cfg.Address.String(), "err", err)
	}
}
