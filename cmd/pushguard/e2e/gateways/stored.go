package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// memory measures what a full embedded store holds resident beyond an empty one.
func memory(ctx context.Context, s *stage, apart bool) ([]line, error) {
	own, err := s.embedded(ctx, permits)
	if err != nil {
		return nil, err
	}
	empty, err := own.front().Memory()
	if err != nil {
		return nil, err
	}
	groups := s.series / perGroup
	if err := s.fill(ctx, shape{groups: groups, series: perGroup, apart: apart}.pushes(), own); err != nil {
		return nil, err
	}
	full, err := settled(ctx, own)
	if err != nil {
		return nil, err
	}
	bound, what := 100., "groups that share a shape"
	if apart {
		bound, what = 300, "all different"
	}
	return []line{{
		work: fmt.Sprintf("memory a series, %s series, %s", thousands(s.series), what),
		goal: atMost(bound, " bytes"), got: float64(full-empty) / float64(s.series),
		detail: fmt.Sprintf("%d MiB, %d when empty", full>>20, empty>>20),
	}}, nil
}

// settled is a contender's memory once it has given back what it will: the least in the
// seconds after a load.
func settled(ctx context.Context, c *contender) (int64, error) {
	least := int64(0)
	for range 10 {
		n, err := c.front().Memory()
		if err != nil {
			return 0, err
		}
		if least == 0 || n < least {
			least = n
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return least, nil
}

// scrapes compares the pages of the embedded store and of an unchecked Pushgateway that
// hold the same.
func scrapes(ctx context.Context, s *stage, series int) ([]line, error) {
	own, err := s.embedded(ctx, permits)
	if err != nil {
		return nil, err
	}
	peer, err := s.pushgateway(ctx, true)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, shape{groups: series / perGroup, series: perGroup}.pushes(), own, peer); err != nil {
		return nil, err
	}
	if _, err := settled(ctx, own); err != nil {
		return nil, err
	}
	var mine, theirs []scrape
	for range s.rounds {
		a, err := averaged(ctx, own)
		if err != nil {
			return nil, err
		}
		b, err := averaged(ctx, peer)
		if err != nil {
			return nil, err
		}
		mine, theirs = append(mine, a), append(theirs, b)
	}
	return scrapeLines(fmt.Sprintf("scrape of %s samples, ", thousands(series+2*series/perGroup)), mine, theirs), nil
}

func scrapeLines(name string, mine, theirs []scrape) []line {
	took := func(s scrape) float64 { return s.took.Seconds() }
	cpu := func(s scrape) float64 { return s.cpu.Seconds() }
	both := func(value func(scrape) float64) string {
		return short(medianOf(mine, value)) + " and " + short(medianOf(theirs, value))
	}
	return []line{
		{work: name + "time, against the Pushgateway's", goal: atMost(1./40, " times"), got: ratio(mine, theirs, took), detail: both(took)},
		{work: name + "CPU, against the Pushgateway's", goal: atMost(1./40, " times"), got: ratio(mine, theirs, cpu), detail: both(cpu)},
		{
			work: name + "first byte", goal: atMost(50, " ms"),
			got:    1e3 * medianOf(mine, func(s scrape) float64 { return s.first.Seconds() }),
			detail: fmt.Sprintf("a page of %d MiB", int(medianOf(mine, func(s scrape) float64 { return float64(s.bytes) }))>>20),
		},
		{
			work: name + "peak memory over that before", goal: atMost(1.1, " times"),
			got:    medianOf(mine, func(s scrape) float64 { return s.peak }),
			detail: fmt.Sprintf("the Pushgateway's %s times", number(medianOf(theirs, func(s scrape) float64 { return s.peak }))),
		},
	}
}

// averaged scrapes as often as it takes to measure processor time, which Linux counts in
// hundredths of a second, and returns the mean; of the peaks the highest.
func averaged(ctx context.Context, c *contender) (scrape, error) {
	const enough = 500 * time.Millisecond
	var sum scrape
	n := 0
	for ; sum.took < enough; n++ {
		one, err := scraped(ctx, c)
		if err != nil {
			return scrape{}, fmt.Errorf("%s: %w", c.front().Name, err)
		}
		sum.took, sum.first, sum.cpu = sum.took+one.took, sum.first+one.first, sum.cpu+one.cpu
		sum.bytes, sum.peak = one.bytes, max(sum.peak, one.peak)
	}
	d := time.Duration(n)
	sum.took, sum.first, sum.cpu = sum.took/d, sum.first/d, sum.cpu/d
	return sum, nil
}

// largeBody measures how far one push of many series raises the memory of a guard that
// has just started, embedded and in front of a Pushgateway that holds nothing.
func largeBody(ctx context.Context, s *stage) ([]line, error) {
	var err error
	one := shape{groups: 1, series: 100_000}
	body, request := len(one.body(0, 1)), pushes{one.push(0, 1)}
	var lines []line
	for _, where := range []string{"in front of a Pushgateway", "embedded, which keeps what is pushed"} {
		line := line{work: "peak memory for one body over its decoded size, " + where, goal: atMost(2, " times")}
		var peaks []float64
		for range s.rounds {
			var c *contender
			if len(lines) == 0 {
				c, err = s.inFront(ctx)
			} else {
				c, err = s.embedded(ctx, permits)
			}
			if err != nil {
				break
			}
			grown, growing := growth(ctx, s, c, request)
			if err = growing; err != nil {
				break
			}
			peaks = append(peaks, float64(grown)/float64(body))
		}
		line.failed, line.got, line.detail = err, median(peaks), fmt.Sprintf("a body of %.1f MiB", float64(body)/(1<<20))
		lines = append(lines, line)
	}
	return lines, nil
}

// inFront is a guard in front of a Pushgateway of its own.
func (s *stage) inFront(ctx context.Context) (*contender, error) {
	upstream, err := s.pushgateway(ctx, true)
	if err != nil {
		return nil, err
	}
	return s.before(ctx, permits, upstream)
}

// growth is how much one request raises a contender's memory at its peak. The contender
// is stopped.
func growth(ctx context.Context, s *stage, c *contender, request pushes) (int64, error) {
	defer c.front().Stop()
	before, err := c.front().Memory()
	if err != nil {
		return 0, err
	}
	if err := c.front().ResetPeak(); err != nil {
		return 0, err
	}
	err = s.fill(ctx, request, c)
	c.load.close() // a server that ends waits for connections that nobody has used
	if err != nil {
		return 0, err
	}
	peak, err := c.front().Peak()
	return peak - before, err
}

// durable compares a store that keeps what it acknowledged with one of memory only.
func durable(ctx context.Context, s *stage) ([]line, error) {
	kept, plain, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, shape{groups: 10, series: 100}.pushes(), kept, plain); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, kept, plain); err != nil {
		return nil, err
	}
	return []line{{
		work: "embedded, pushes a second of 100 series with --state.sync=interval, against memory only",
		goal: atLeast(0.8, " times"), got: ratio(kept.shots, plain.shots, shot.rate), detail: rates(kept, plain),
	}}, nil
}

// persisting compares their waits when both are full and all of it is pushed again.
func persisting(ctx context.Context, s *stage) ([]line, error) {
	kept, plain, err := s.pair(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, shape{groups: s.series / perGroup, series: perGroup}.pushes(), kept, plain); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, kept, plain); err != nil {
		return nil, err
	}
	return []line{{
		work: fmt.Sprintf("p99 while persisting %s series, against memory only", thousands(s.series)),
		goal: atMost(1.5, " times"), got: ratio(kept.shots, plain.shots, p99), detail: waits(kept, plain),
	}}, nil
}

// pair starts a store with a state directory and one without.
func (s *stage) pair(ctx context.Context) (kept, plain *contender, err error) {
	dir := filepath.Join(s.dir, fmt.Sprintf("state-%d", time.Now().UnixNano()))
	if kept, err = s.embedded(ctx, permits, "--state.dir="+dir, "--state.sync=interval"); err != nil {
		return nil, nil, err
	}
	plain, err = s.embedded(ctx, permits)
	return kept, plain, err
}
