package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// goal is what a number should be.
type goal struct {
	bound  float64
	atMost bool
	unit   string
}

func atLeast(n float64, unit string) goal { return goal{n, false, unit} }
func atMost(n float64, unit string) goal  { return goal{n, true, unit} }

func (g goal) String() string {
	word := "at least "
	if g.atMost {
		word = "at most "
	}
	return word + number(g.bound) + g.unit
}

func (g goal) met(n float64) bool { return n == g.bound || (n < g.bound) == g.atMost }

// line is one number of the table.
type line struct {
	work   string
	goal   goal
	got    float64
	detail string // the medians behind it
	failed error  // set if there is no number
}

// String is the line as people are told of it while it goes on.
func (l line) String() string {
	if l.failed != nil {
		return fmt.Sprintf("%s: not measured: %v", l.work, l.failed)
	}
	return fmt.Sprintf("%s: %s%s, goal %s, %s (%s)", l.work, number(l.got), l.goal.unit, l.goal, l.verdict(), l.detail)
}

func (l line) verdict() string {
	if l.goal.met(l.got) {
		return "met"
	}
	return "not met"
}

// writeTable writes what was measured as Markdown.
func writeTable(out io.Writer, o options, m server.Machine, lines []line) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s; load averages before: %s.\n%s.\n", m.Text(), m.Load, m.Versions())
	fmt.Fprintf(&b, "Medians of %d rounds of %s over %d connections; a full store has %s series.\n\n",
		o.rounds, o.duration, o.conns, thousands(o.series))
	b.WriteString("| work | goal | measured | | medians |\n|---|---|---|---|---|\n")
	for _, l := range lines {
		if l.failed != nil {
			cause, _, _ := strings.Cut(l.failed.Error(), "\n")
			fmt.Fprintf(&b, "| %s | | not measured | | %s |\n", l.work, strings.ReplaceAll(cause, "|", `\|`))
			continue
		}
		fmt.Fprintf(&b, "| %s | %s | %s%s | %s | %s |\n", l.work, l.goal, number(l.got), l.goal.unit, l.verdict(), l.detail)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// number renders with three digits that matter.
func number(n float64) string {
	switch {
	case n >= 100:
		return thousands(int(n + 0.5))
	case n >= 0.1:
		return strconv.FormatFloat(n, 'g', 3, 64)
	default:
		return strconv.FormatFloat(n, 'g', 2, 64)
	}
}

// thousands renders 12345 as 12,345.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// median is the middle of some numbers, 0 of none.
func median(numbers []float64) float64 {
	if len(numbers) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(numbers))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// medianOf is the median over the elements of a list.
func medianOf[T any](list []T, value func(T) float64) float64 {
	numbers := make([]float64, len(list))
	for i, e := range list {
		numbers[i] = value(e)
	}
	return median(numbers)
}

// ratio is the median of a's values over b's, each of one round.
func ratio[T any](a, b []T, value func(T) float64) float64 {
	numbers := make([]float64, min(len(a), len(b)))
	for i := range numbers {
		numbers[i] = value(a[i]) / value(b[i])
	}
	return median(numbers)
}
