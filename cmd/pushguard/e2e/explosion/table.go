package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// writeTable writes what ran where, and two lines for each attack.
func writeTable(out io.Writer, o options, m server.Machine, results []result) error {
	fmt.Fprintf(out, "%s\n%s; load averages before: %s\n", ran(m, o), m.Versions(), m.Load)
	fmt.Fprint(out, "The bare Pushgateway runs with --push.disable-consistency-check, the guarded one as it comes.\n\n")
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "attack\t\tpushes\ttook\tanswers\tseries\tgateway MiB\tguard MiB")
	for _, r := range results {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s → %s\t%s\t%s\n", r.attack.name, r.side(),
			thousands(r.pushes)+stopped(r), r.took.Round(time.Second), answers(r.answers),
			thousands(r.first().series), thousands(r.last().series),
			fromTo(r.first().gateway, r.last().gateway), fromTo(r.first().guard, r.last().guard))
	}
	fmt.Fprintf(w, "\nThe well-behaved job, a push every %s; waits from when a push was due:\n\n", o.every)
	fmt.Fprintln(w, "attack\t\tpushes\trefused\tlast push\treadings\tbehind\tp50\tp99\tmax")
	for _, r := range results {
		f := r.fate
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%d\t%d\t%s\t%s\t%s\n", r.attack.name, r.side(),
			thousands(f.pushes), f.refused, kept(f.lost), f.readings, f.behind, short(f.p50), short(f.p99), short(f.max))
	}
	return w.Flush()
}

func stopped(r result) string {
	if r.stopped {
		return ", stopped"
	}
	return ""
}

func kept(lost bool) string {
	if lost {
		return "lost"
	}
	return "kept"
}

// answers renders 200: 5, 422: 3 with the smallest status first.
func answers(of map[int]int) string {
	var out []string
	for _, status := range slices.Sorted(maps.Keys(of)) {
		name := strconv.Itoa(status)
		if status == 0 {
			name = "none"
		}
		out = append(out, name+": "+thousands(of[status]))
	}
	return strings.Join(out, ", ")
}

func fromTo(from, to int64) string {
	if to == 0 {
		return "-"
	}
	return fmt.Sprintf("%s → %s", thousands(mebibytes(from)), thousands(mebibytes(to)))
}

func mebibytes(n int64) int { return int((n + 1<<19) >> 20) }

// thousands renders 12345 as 12,345.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// short renders a duration with two or three digits that matter.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Millisecond:
		return fmt.Sprintf("%.1f ms", d.Seconds()*1e3)
	case d < time.Second:
		return fmt.Sprintf("%.0f ms", d.Seconds()*1e3)
	default:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
}

// writeCSV writes every row of every run. guard_rss_bytes is empty where there is
// no guard.
func writeCSV(out io.Writer, results []result) error {
	w := csv.NewWriter(out)
	_ = w.Write([]string{ // Error tells what went wrong
		"attack", "target", "pushes", "seconds", "series", "gateway_rss_bytes", "guard_rss_bytes",
		"neighbour_pushes", "neighbour_longest_wait_seconds",
	})
	for _, r := range results {
		for _, at := range r.rows {
			guard := ""
			if r.guarded {
				guard = strconv.FormatInt(at.guard, 10)
			}
			_ = w.Write([]string{
				r.attack.name, r.side(), strconv.Itoa(at.pushes), seconds(at.at), strconv.Itoa(at.series),
				strconv.FormatInt(at.gateway, 10), guard, strconv.Itoa(at.neighbourPushes), seconds(at.neighbourWait),
			})
		}
	}
	w.Flush()
	return w.Error()
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 4, 64) }
