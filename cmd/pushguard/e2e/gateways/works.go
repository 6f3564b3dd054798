package main

import (
	"context"
	"fmt"
	"time"
)

// work is something that servers are compared by. Its lines are its rows of the table.
type work struct {
	name    string
	measure func(ctx context.Context, s *stage) ([]line, error)
}

func works(o options) []work {
	few, many := min(1000, o.series/perGroup), min(10_000, o.series/perGroup)
	all := []work{
		{"embedded, 100 series a push", hundred},
		{fmt.Sprintf("embedded, %s groups of %d", thousands(many), perGroup), func(ctx context.Context, s *stage) ([]line, error) { return groups(ctx, s, many) }},
		{"memory of series whose groups share a shape", func(ctx context.Context, s *stage) ([]line, error) { return memory(ctx, s, false) }},
		{"memory of series that are all different", func(ctx context.Context, s *stage) ([]line, error) { return memory(ctx, s, true) }},
	}
	for _, series := range []int{o.series / 10, o.series} {
		all = append(all, work{fmt.Sprintf("scrape of %s samples", thousands(series+2*series/perGroup)), func(ctx context.Context, s *stage) ([]line, error) { return scrapes(ctx, s, series) }})
	}
	for _, size := range []struct {
		series int
		goal   float64
	}{{10, 0.60}, {200, 1.05}, {1000, 1.25}} {
		all = append(all, work{fmt.Sprintf("in front of an unchecked Pushgateway, %d series a push", size.series), func(ctx context.Context, s *stage) ([]line, error) { return front(ctx, s, size.series, size.goal) }})
	}
	for _, stored := range []struct {
		groups int
		goal   float64
	}{{few, 100}, {many, 2000}} {
		all = append(all, work{fmt.Sprintf("the guard's own check, %s stored groups of %d", thousands(stored.groups), perGroup), func(ctx context.Context, s *stage) ([]line, error) {
			return vouched(ctx, s, stored.groups, stored.goal)
		}})
	}
	return append(all,
		work{"one large body", largeBody},
		work{"embedded, --state.sync=interval", durable},
		work{"p99 while persisting a full store", persisting},
	)
}

// hundred compares the embedded store with an unchecked Pushgateway at ten groups of a
// hundred series.
func hundred(ctx context.Context, s *stage) ([]line, error) {
	own, peer, bare, err := s.rivals(ctx)
	if err != nil {
		return nil, err
	}
	ruled, err := s.embedded(ctx, dropsOne)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, shape{groups: 10, series: 100}.pushes(), own, ruled, peer, bare); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, own, ruled, peer, bare); err != nil {
		return nil, err
	}
	return []line{
		{
			work: "embedded, pushes a second of 100 series, against the unchecked Pushgateway",
			goal: atLeast(6, " times"), got: ratio(own.shots, peer.shots, shot.rate), detail: rates(own, peer) + beside(bare, peer, shot.rate),
		},
		{
			work: "the same under a policy that drops one label, against without",
			goal: atLeast(2./3, " times"), got: ratio(ruled.shots, own.shots, shot.rate), detail: rates(ruled, own),
		},
		{
			work: "p99 of the first, against the unchecked Pushgateway's",
			goal: atMost(0.1, " times"), got: ratio(own.shots, peer.shots, p99), detail: waits(own, peer) + beside(bare, peer, p99),
		},
	}, nil
}

// groups compares them with many groups, beside a checked Pushgateway that holds as many.
func groups(ctx context.Context, s *stage, many int) ([]line, error) {
	few, full := shape{groups: 10, series: perGroup}.pushes(), shape{groups: many, series: perGroup}.pushes()
	own, peer, bare, err := s.rivals(ctx)
	if err != nil {
		return nil, err
	}
	small, err := s.embedded(ctx, permits)
	if err != nil {
		return nil, err
	}
	checked, err := s.filled(ctx, full)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, full, own, peer, bare); err != nil {
		return nil, err
	}
	if err := s.fill(ctx, few, small); err != nil {
		return nil, err
	}
	if err := s.aim(full, checked); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, own, small, peer, bare, checked); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("embedded, %s groups of %d series, ", thousands(many), perGroup)
	return []line{
		{work: name + "against the unchecked Pushgateway", goal: atLeast(2.7, " times"), got: ratio(own.shots, peer.shots, shot.rate), detail: rates(own, peer) + beside(bare, peer, shot.rate)},
		{work: name + "against the checked one", goal: atLeast(10_000, " times"), got: ratio(own.shots, checked.shots, shot.rate), detail: rates(own, checked)},
		{
			work: fmt.Sprintf("CPU of a push at %s groups against 10", thousands(many)),
			goal: atMost(1.05, " times"), got: ratio(own.shots, small.shots, shot.cost),
			detail: fmt.Sprintf("%.1f and %.1f µs", 1e6*medianOf(own.shots, shot.cost), 1e6*medianOf(small.shots, shot.cost)),
		},
	}, nil
}

// front compares a guard with haproxy, and with nothing, in front of one Pushgateway.
func front(ctx context.Context, s *stage, series int, want float64) ([]line, error) {
	direct, err := s.pushgateway(ctx, true)
	if err != nil {
		return nil, err
	}
	guard, err := s.before(ctx, permits, direct)
	if err != nil {
		return nil, err
	}
	bare, err := s.bare(ctx, direct)
	if err != nil {
		return nil, err
	}
	contenders := []*contender{direct, guard, bare}
	haproxy, missing := s.passing(ctx, direct)
	if missing == nil {
		contenders = append(contenders, haproxy)
	}
	if err := s.fill(ctx, shape{groups: 10, series: series}.pushes(), contenders...); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, contenders...); err != nil {
		return nil, err
	}
	detail := "; haproxy not measured"
	if missing == nil {
		detail = beside(haproxy, direct, shot.rate)
	}
	return []line{{
		work: fmt.Sprintf("in front of an unchecked Pushgateway, policy on, against pushing to it, %d series a push", series),
		goal: atLeast(want, " times"), got: ratio(guard.shots, direct.shots, shot.rate), detail: rates(guard, direct) + beside(bare, direct, shot.rate) + detail,
	}}, nil
}

// vouched compares a guard that checks every push itself with a Pushgateway that does.
func vouched(ctx context.Context, s *stage, stored int, want float64) ([]line, error) {
	full := shape{groups: stored, series: perGroup}.pushes()
	upstream, err := s.pushgateway(ctx, true)
	if err != nil {
		return nil, err
	}
	guard, err := s.before(ctx, permits, upstream, "--pushgateway.unchecked")
	if err != nil {
		return nil, err
	}
	checked, err := s.filled(ctx, full)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, full, guard); err != nil {
		return nil, err
	}
	if err := s.aim(full, checked); err != nil {
		return nil, err
	}
	if err := s.compete(ctx, guard, checked); err != nil {
		return nil, err
	}
	return []line{{
		work: fmt.Sprintf("in front of an unchecked one with the guard's own check, against a checked one, %s stored groups of %d", thousands(stored), perGroup),
		goal: atLeast(want, " times"), got: ratio(guard.shots, checked.shots, shot.rate), detail: rates(guard, checked),
	}}, nil
}

func p99(s shot) float64 { return s.p99.Seconds() }

func rates(a, b *contender) string {
	return fmt.Sprintf("%s and %s a second", number(medianOf(a.shots, shot.rate)), number(medianOf(b.shots, shot.rate)))
}

// beside is what another one has against the one that a guard is compared with.
func beside(other, peer *contender, value func(shot) float64) string {
	return fmt.Sprintf("; %s %s times", other.front().Name, number(ratio(other.shots, peer.shots, value)))
}

func waits(a, b *contender) string {
	return fmt.Sprintf("%s and %s", short(medianOf(a.shots, p99)), short(medianOf(b.shots, p99)))
}

// short renders seconds as a time.
func short(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%d µs", d.Microseconds())
	case d < time.Second:
		return fmt.Sprintf("%.1f ms", seconds*1e3)
	default:
		return fmt.Sprintf("%.1f s", seconds)
	}
}
