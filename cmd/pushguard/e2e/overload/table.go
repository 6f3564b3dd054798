package main

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// rounds are the tallies of each round, by class.
type rounds [][]tally

// all has the classes of each round as one.
func (r rounds) all() rounds {
	var out rounds
	for _, tallies := range r {
		var sum tally
		for _, t := range tallies {
			sum.offered, sum.accepted, sum.shed, sum.other = sum.offered+t.offered, sum.accepted+t.accepted, sum.shed+t.shed, sum.other+t.other
			sum.waits = append(sum.waits, t.waits...)
		}
		out = append(out, []tally{sum})
	}
	return out
}

// of is the median of the rounds of what a tally of a class has.
func of[T int | float64 | time.Duration](r rounds, class int, what func(tally) T) T {
	var those []T
	for _, tallies := range r {
		those = append(those, what(tallies[class]))
	}
	slices.Sort(those)
	return those[len(those)/2]
}

// quantile is the wait within which so many of a hundred were answered.
func quantile(q int) func(tally) time.Duration {
	return func(t tally) time.Duration {
		if len(t.waits) == 0 {
			return 0
		}
		waits := slices.Sorted(slices.Values(t.waits))
		return waits[(len(waits)-1)*q/100]
	}
}

// lost is the share of pushes that were shed.
func lost(t tally) float64 { return float64(t.shed) / float64(max(1, t.offered)) }

// table prints both loads. Pushes that were neither taken nor shed are an error.
func table(out io.Writer, calm, storm rounds) error {
	fmt.Fprintf(out, "%-32s %8s %8s %8s %10s %10s\n", "", "offered", "accepted", "shed", "p50", "p99")
	row := func(name string, r rounds, class int) {
		fmt.Fprintf(out, "%-32s %8d %8d %7.1f%% %10s %10s\n", name, of(r, class, func(t tally) int { return t.offered }), of(r, class, func(t tally) int { return t.accepted }),
			100*of(r, class, lost), of(r, class, quantile(50)).Round(10*time.Microsecond), of(r, class, quantile(99)).Round(10*time.Microsecond))
	}
	row("a tenth of that", calm, 0)
	row("three times that", storm.all(), 0)
	for i, k := range classes {
		row("  "+k.name, storm, i)
	}
	before, after := of(calm, 0, quantile(99)), of(storm.all(), 0, quantile(99))
	fmt.Fprintf(out, "p99 of accepted pushes: %.1f times that of a tenth of the load; the goal is 10 at most\n", float64(after)/float64(max(before, 1)))
	if n := of(calm.all(), 0, func(t tally) int { return t.other }) + of(storm.all(), 0, func(t tally) int { return t.other }); n > 0 {
		return fmt.Errorf("%d pushes of a round were neither taken nor shed, like one of %s", n, failure(calm, storm))
	}
	return nil
}

// failure is that of one push of the rounds.
func failure(loads ...rounds) string {
	for _, r := range loads {
		for _, tallies := range r {
			for _, t := range tallies {
				if t.failure != "" {
					return t.failure
				}
			}
		}
	}
	return ""
}
