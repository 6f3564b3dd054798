package console

import (
	"fmt"
	"math"
	"strings"
	"time"
)

const (
	// chartWidth and chartHeight are of the pushes of an hour, lineWidth and
	// lineHeight of the series of a job, in the units of the drawing.
	chartWidth, chartHeight = 720, 120
	lineWidth, lineHeight   = 360, 64
)

// column is one minute of the chart of pushes, drawn from the bottom up.
type column struct {
	X     int
	Title string
	Parts []part
}

type part struct {
	Outcome string
	Y, H    float64
}

// columns draws bars to a common scale, whose top is returned.
func columns(bars []bar) ([]column, float64) {
	top := 0.0
	for _, b := range bars {
		top = max(top, b.Sum())
	}
	out := make([]column, len(bars))
	width := chartWidth / max(1, len(bars))
	for i, b := range bars {
		col := column{X: i * width, Title: b.Time.Format("15:04") + " UTC: no pushes"}
		var words []string
		y := float64(chartHeight)
		for k, n := range b.Tally {
			if n == 0 {
				continue
			}
			h := math.Max(2, math.Round(10*n/top*(chartHeight-4))/10)
			y -= h
			col.Parts = append(col.Parts, part{outcomes[k], y, h})
			words = append(words, number(n)+" "+outcomes[k])
		}
		if len(words) > 0 {
			col.Title = b.Time.Format("15:04") + " UTC: " + strings.Join(words, ", ")
		}
		out[i] = col
	}
	return out, top
}

// spark is a line drawn small.
type spark struct {
	Title    string
	Lines    []string // points, a line for each stretch that is known
	Dots     [][2]float64
	Low, Top uint32
	From, To time.Time
	Limit    float64 // where a limit is drawn, below 0 for none
}

// drawn draws a line, with the limit if it is near enough to be in the picture.
func drawn(l line, limit int) spark {
	s := spark{Low: math.MaxUint32, Limit: -1, To: l.End, From: l.End.Add(-time.Duration(len(l.Values)-1) * l.Step)}
	seen := 0
	for _, v := range l.Values {
		if v != unknown {
			s.Low, s.Top = min(s.Low, v), max(s.Top, v)
			seen++
		}
	}
	s.Title = s.words(seen, len(l.Values))
	scale := float64(max(1, s.Top))
	if limit > 0 && float64(limit) <= 2*scale {
		scale = math.Max(scale, float64(limit))
		s.Limit = height(float64(limit), scale)
	}
	s.stretch(l.Values, scale)
	return s
}

// words says what a line shows that is known at so many of its moments.
func (s *spark) words(seen, all int) string {
	switch {
	case seen == 0:
		return "nothing held"
	case s.Low < s.Top:
		return fmt.Sprintf("from %s to %s series", number(int(s.Low)), number(int(s.Top)))
	case seen < all:
		return plural(int(s.Low), "series", "series")
	default:
		return plural(int(s.Low), "series", "series") + " all the while"
	}
}

func height(v, scale float64) float64 {
	return math.Round(10*(lineHeight-4-(lineHeight-8)*v/scale)) / 10
}

// stretch draws what is known; a moment alone is a dot.
func (s *spark) stretch(values []uint32, scale float64) {
	var points []string
	var at [2]float64
	end := func() {
		switch len(points) {
		case 0:
		case 1:
			s.Dots = append(s.Dots, at)
		default:
			s.Lines = append(s.Lines, strings.Join(points, " "))
		}
		points = nil
	}
	for i, v := range values {
		if v == unknown {
			end()
			continue
		}
		x := math.Round(10*float64(i)*float64(lineWidth-8)/float64(max(1, len(values)-1)))/10 + 4
		at = [2]float64{x, height(float64(v), scale)}
		points = append(points, fmt.Sprintf("%g,%g", at[0], at[1]))
	}
	end()
}
