package statsd

import (
	"math"
	"slices"
	"strconv"

	"github.com/pushguard/pushguard/proxy/counter"
)

const (
	maxBounds = 500
	maxAmount = 1e200 // so that no sum of amounts becomes infinite
)

// amount reports whether v is one that a counter can grow by.
func amount(v float64) bool { return v >= 0 && v <= maxAmount }

// sound reports whether an increment is what it should be.
func sound(inc *counter.Increment) bool {
	switch inc.Series.Kind {
	case counter.Counter:
		return amount(inc.Value)
	case counter.Summary:
		return amount(inc.Count) && (inc.NoSum || amount(inc.Sum))
	case counter.Histogram:
		if len(inc.Buckets) != len(inc.Series.Bounds) {
			return false
		}
		before := 0.0
		for _, b := range inc.Buckets {
			if !amount(b) || b < before {
				return false
			}
			before = b
		}
		return amount(inc.Count) && inc.Count >= before && (inc.NoSum || amount(inc.Sum))
	}
	return false
}

// goodBounds reports whether these can be the bounds of a histogram.
func goodBounds(bounds []float64) bool {
	for i, b := range bounds {
		if math.IsNaN(b) || math.IsInf(b, 0) || (i > 0 && b <= bounds[i-1]) {
			return false
		}
	}
	return len(bounds) <= maxBounds
}

// union returns the bounds that are in a or in b, ascending. It is a itself if b
// adds none.
func union(a, b []float64) []float64 {
	if covers(a, b) {
		return a
	}
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// covers reports whether all of b are in a; both are ascending.
func covers(a, b []float64) bool {
	i := 0
	for _, v := range b {
		for i < len(a) && a[i] < v {
			i++
		}
		if i == len(a) || a[i] != v {
			return false
		}
	}
	return true
}

// addBuckets adds what was counted in cumulative buckets of some bounds to
// buckets of others. A bucket that was not counted gets what the next lower one
// has: no less is in it, and no bucket gets less than one below it.
func addBuckets(dst, bounds, counted, of []float64) {
	j, sum := 0, 0.0
	for i, b := range bounds {
		for j < len(of) && of[j] <= b {
			sum = counted[j]
			j++
		}
		dst[i] += sum
	}
}

// appendAmount appends what reads back as v: integers in full, nothing longer
// than maxDigits.
func appendAmount(dst []byte, v float64) []byte {
	format := byte('f')
	if v >= 1e21 || (v < 1e-6 && v > 0) {
		format = 'e'
	}
	return strconv.AppendFloat(dst, v, format, -1, 64)
}

const maxDigits = 25

// appendBound appends a bound as Prometheus writes it in the label le.
func appendBound(dst []byte, v float64) []byte {
	if math.IsInf(v, 1) {
		return append(dst, "+Inf"...)
	}
	if v == 0 {
		return append(dst, "0.0"...)
	}
	at := len(dst)
	dst = strconv.AppendFloat(dst, v, 'g', -1, 64)
	for _, c := range dst[at:] {
		if c == 'e' || c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}
