package main

import (
	"bytes"
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// style has a light and a dark dress. The card behind all belongs to it, so that
// either can be read on either page.
const style = `
.card { fill: #ffffff; stroke: #d0d7de }
text { font: 11px -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; fill: #424a53 }
text.title { font-size: 15px; font-weight: 600; fill: #1f2328 }
text.head { font-size: 12px; font-weight: 600; fill: #1f2328 }
text.small { font-size: 10px }
line, polyline { fill: none; stroke-width: 2; stroke-linejoin: round }
line.grid { stroke: #d0d7de; stroke-width: 1 }
line.bare, polyline.bare { stroke: #bc4c00 }
line.guarded, polyline.guarded { stroke: #0969da }
line.guard, polyline.guard { stroke: #8250df; stroke-dasharray: 5 3 }
text.bare { fill: #953800 }
text.guarded { fill: #0550ae }
text.guard { fill: #6639ba }
@media (prefers-color-scheme: dark) {
.card { fill: #0d1117; stroke: #30363d }
text { fill: #b1bac4 }
text.title, text.head { fill: #f0f6fc }
line.grid { stroke: #30363d }
line.bare, polyline.bare { stroke: #f0883e }
line.guarded, polyline.guarded { stroke: #58a6ff }
line.guard, polyline.guard { stroke: #bc8cff }
text.bare { fill: #f0883e }
text.guarded { fill: #79c0ff }
text.guard { fill: #d2a8ff }
}
`

// drawing is an SVG in the making. Classes name its colours, see style.
type drawing struct{ b bytes.Buffer }

type point struct{ x, y float64 }

func newDrawing(width, height int, title, description string) *drawing {
	d := new(drawing)
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%[1]d" height="%[2]d" role="img">`, width, height)
	fmt.Fprintf(&d.b, "\n<title>%s</title>\n<desc>%s</desc>\n<style>%s</style>\n", escape(title), escape(description), style)
	fmt.Fprintf(&d.b, `<rect class="card" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", width-1, height-1)
	return d
}

func (d *drawing) end() []byte {
	d.b.WriteString("</svg>\n")
	return d.b.Bytes()
}

func (d *drawing) text(class string, x, y float64, words string) {
	d.anchored(class, "start", x, y, words)
}

// anchored writes words that start, have their middle, or end at x.
func (d *drawing) anchored(class, anchor string, x, y float64, words string) {
	fmt.Fprintf(&d.b, `<text class="%s" text-anchor="%s" x="%s" y="%s">%s</text>`+"\n", class, anchor, num(x), num(y), escape(words))
}

// upright writes words from below to above, with their middle at y.
func (d *drawing) upright(class string, x, y float64, words string) {
	fmt.Fprintf(&d.b, `<text class="%s" text-anchor="middle" transform="translate(%s %s) rotate(-90)">%s</text>`+"\n",
		class, num(x), num(y), escape(words))
}

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`+"\n", class, num(x1), num(y1), num(x2), num(y2))
}

func (d *drawing) path(class string, points []point) {
	fmt.Fprintf(&d.b, `<polyline class="%s" points="`, class)
	for i, p := range points {
		if i > 0 {
			d.b.WriteByte(' ')
		}
		d.b.WriteString(num(p.x) + "," + num(p.y))
	}
	d.b.WriteString("\"/>\n")
}

func num(f float64) string {
	return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64)
}

func escape(s string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(s)) // a Buffer takes everything
	return b.String()
}

// scale maps the values from 0 to top to the pixels from one to another.
type scale struct {
	top, step float64
	from, to  float64
}

// newScale covers 0 to highest with three to six steps of a round size.
func newScale(highest, from, to float64) scale {
	highest = max(highest, 1)
	step := math.Pow(10, math.Floor(math.Log10(highest)))
	switch n := highest / step; {
	case n <= 1.5:
		step /= 4
	case n <= 3:
		step /= 2
	case n > 6:
		step *= 2
	}
	return scale{top: math.Ceil(highest/step) * step, step: step, from: from, to: to}
}

func (s scale) at(value float64) float64 { return s.from + (s.to-s.from)*value/s.top }

func (s scale) ticks() []float64 {
	var out []float64
	for i := 0; float64(i)*s.step <= s.top; i++ {
		out = append(out, float64(i)*s.step)
	}
	return out
}

// brief renders 20000 as 20k.
func brief(value float64) string {
	switch {
	case value >= 1e6:
		return strconv.FormatFloat(value/1e6, 'f', -1, 64) + "M"
	case value >= 1e3:
		return strconv.FormatFloat(value/1e3, 'f', -1, 64) + "k"
	default:
		return strconv.FormatFloat(value, 'f', -1, 64)
	}
}

// label is the name at the end of a line.
type label struct {
	class, words string
	y            float64
}

// spread moves labels up until none lies over another or below bottom.
func spread(labels []label, bottom float64) []label {
	slices.SortStableFunc(labels, func(a, b label) int { return cmp.Compare(b.y, a.y) })
	for i := range labels {
		labels[i].y = min(labels[i].y, bottom)
		bottom = labels[i].y - labelGap
	}
	return labels
}
