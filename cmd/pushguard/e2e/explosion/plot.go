package main

import (
	"fmt"
	"slices"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// The quantities of the plot, in pixels of an 860 wide picture.
const (
	width, height = 860, 560
	left          = 72  // of the first column of panels
	pitch         = 262 // from one column to the next
	panelWidth    = 158 // the rest of a pitch is for the labels at the lines' ends
	panelHeight   = 122
	firstPanel    = 104 // top of the upper row
	secondPanel   = 252
	fates         = 438 // what became of the well-behaved job
	labelGap      = 13  // between two labels, at least
)

// quantity is what one row of panels shows.
type quantity struct {
	title string
	unit  string // after the number of a label
	top   float64
	lines []lineOf
	value func(row, bool) float64 // the flag is for the guard itself
}

// lineOf is one line of every panel of a row.
type lineOf struct {
	class   string
	label   string
	guarded bool // of the guarded run
	itself  bool // the guard, not the gateway
}

var (
	bareLine    = lineOf{class: "bare", label: "bare"}
	guardedLine = lineOf{class: "guarded", label: "guarded", guarded: true}
	guardLine   = lineOf{class: "guard", label: "guard", guarded: true, itself: true}
)

var quantities = []quantity{
	{
		title: "series on /metrics", top: firstPanel, lines: []lineOf{bareLine, guardedLine},
		value: func(r row, _ bool) float64 { return float64(r.series) },
	},
	{
		title: "resident memory, MiB", unit: " MiB", top: secondPanel, lines: []lineOf{bareLine, guardedLine, guardLine},
		value: func(r row, itself bool) float64 {
			if itself {
				return float64(r.guard) / (1 << 20)
			}
			return float64(r.gateway) / (1 << 20)
		},
	},
}

// pair is one attack on both sides.
type pair struct {
	attack        attack
	bare, guarded result
}

func (p pair) of(guarded bool) result {
	if guarded {
		return p.guarded
	}
	return p.bare
}

// pairs are the attacks that the plot shows, in their order.
func pairs(results []result) []pair {
	var out []pair
	for _, r := range results {
		if r.attack.where == "" {
			continue
		}
		at := slices.IndexFunc(out, func(p pair) bool { return p.attack.name == r.attack.name })
		if at < 0 {
			at, out = len(out), append(out, pair{attack: r.attack})
		}
		if r.guarded {
			out[at].guarded = r
		} else {
			out[at].bare = r
		}
	}
	return out
}

// plot draws series and memory against pushes, a column for each attack, as an
// SVG that carries its own background: it is readable whatever lies around it.
func plot(o options, m server.Machine, results []result) []byte {
	d := newDrawing(width, height,
		"Series and memory of a Pushgateway under three attacks",
		"Bare, series and memory grow with every push. Behind pushguard, both stay flat, and so does pushguard.")
	columns := pairs(results)
	d.text("title", 20, 32, thousands(o.pushes)+" pushes, each with a new run_id: Pushgateway, bare and behind pushguard")
	drawLegend(d)
	for _, of := range quantities {
		drawRow(d, o, of, columns)
	}
	drawFates(d, o, columns)
	d.text("small", 20, height-36, ran(m, o))
	d.text("small", 20, height-20, m.Versions()+"; the bare Pushgateway with --push.disable-consistency-check, the guarded one with its check")
	return d.end()
}

func drawLegend(d *drawing) {
	x := 20.0
	for _, entry := range []struct{ class, words string }{
		{"bare", "bare: a Pushgateway alone"},
		{"guarded", "guarded: the one behind pushguard"},
		{"guard", "guard: pushguard itself"},
	} {
		d.line(entry.class, x, 50, x+18, 50)
		d.text(entry.class, x+24, 54, entry.words)
		x += 250
	}
}

// drawRow draws the panels of one measure, all on one scale.
func drawRow(d *drawing, o options, of quantity, columns []pair) {
	highest := 0.0
	for _, c := range columns {
		for _, l := range of.lines {
			for _, r := range c.of(l.guarded).rows {
				highest = max(highest, of.value(r, l.itself))
			}
		}
	}
	y := newScale(highest, of.top+panelHeight, of.top)
	d.upright("axis", 20, of.top+panelHeight/2, of.title)
	for i, c := range columns {
		x := newScale(float64(o.pushes), left+float64(i)*pitch, left+float64(i)*pitch+panelWidth)
		if of.top == firstPanel {
			d.text("head", x.from, of.top-16, c.attack.where)
		}
		drawAxes(d, x, y, i == 0)
		drawLines(d, of, c, x, y)
	}
}

// drawAxes draws the grid and the numbers: those of y once in a row, those of x
// below the lower one.
func drawAxes(d *drawing, x, y scale, first bool) {
	for _, tick := range y.ticks() {
		d.line("grid", x.from, y.at(tick), x.to, y.at(tick))
		if first {
			d.anchored("tick", "end", x.from-6, y.at(tick)+4, brief(tick))
		}
	}
	for _, tick := range x.ticks() {
		d.line("grid", x.at(tick), y.from, x.at(tick), y.from+4)
		if y.to == secondPanel {
			d.anchored("tick", "middle", x.at(tick), y.from+17, brief(tick))
		}
	}
	if y.to == secondPanel {
		d.anchored("axis", "middle", (x.from+x.to)/2, y.from+34, "pushes")
	}
}

// drawLines draws the lines of one panel, each with its name and last value.
func drawLines(d *drawing, of quantity, c pair, x, y scale) {
	var labels []label
	for _, l := range of.lines {
		r := c.of(l.guarded)
		var points []point
		for _, at := range r.rows {
			points = append(points, point{x.at(float64(at.pushes)), y.at(of.value(at, l.itself))})
		}
		d.path(l.class, points)
		last := of.value(r.last(), l.itself)
		labels = append(labels, label{l.class, l.label + " " + thousands(int(last+0.5)) + of.unit, y.at(last) + 4})
	}
	for _, l := range spread(labels, y.from+4) {
		d.text(l.class, x.to+6, l.y, l.words)
	}
}

// drawFates tells below each column how the well-behaved job fared.
func drawFates(d *drawing, o options, columns []pair) {
	d.text("head", 20, fates, "Meanwhile a well-behaved job pushes every "+short(o.every)+"; its waits, from when a push was due:")
	for i, c := range columns {
		y := float64(fates + 22)
		for _, l := range []lineOf{bareLine, guardedLine} {
			r := c.of(l.guarded)
			f := r.fate
			words := fmt.Sprintf("%s: lost %s of %s, p99 %s, max %s",
				l.label, thousands(f.missing()), thousands(f.pushes), short(f.p99), short(f.max))
			d.text(l.class, fateLeft(i), y, words)
			if r.stopped {
				y += 16
				d.text(l.class, fateLeft(i), y, "stopped after "+short(r.took)+" at "+thousands(r.pushes)+" pushes")
			}
			y += 18
		}
	}
}

func fateLeft(column int) float64 { return 20 + float64(column)*280 }
