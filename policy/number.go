package policy

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"go.yaml.in/yaml/v4"
)

// number reads a whole number. Octal, hexadecimal and underscored forms are
// refused: too few readers know what they mean in YAML.
func (d *decoder) number(n *yaml.Node, where string) number {
	n = d.follow(n)
	value, ok := int64(0), false
	if n.ShortTag() == "!!int" {
		value, ok = decimal(n.Value)
	}
	return d.checked(n, where, "a whole number", value, ok)
}

// positive reads a whole number of at least 1.
func (d *decoder) positive(n *yaml.Node, where string) number {
	v := d.number(n, where)
	if v.written() && v.value == 0 {
		d.fault(v.spot, where, "must be at least 1")
		return number{}
	}
	return v
}

// size reads a number of bytes, with a unit or without.
func (d *decoder) size(n *yaml.Node, where string) number {
	n = d.follow(n)
	value, ok := int64(0), false
	switch n.ShortTag() {
	case "!!int":
		value, ok = decimal(n.Value)
	case "!!str":
		value, ok = parseSize(n.Value)
	}
	return d.checked(n, where, "a size such as 1MiB or 500000", value, ok)
}

// checked wants value, which stands at n, to be understood and no less than 0
// and to fit an int on every machine.
func (d *decoder) checked(n *yaml.Node, where, want string, value int64, ok bool) number {
	switch {
	case !ok:
		d.fault(d.at(n), where, "want %s, got %s", want, describe(n))
	case value < 0:
		d.fault(d.at(n), where, "must not be negative, got %s", cut(n.Value))
	case value > math.MaxInt32:
		d.fault(d.at(n), where, "%s is too large: at most %d", cut(n.Value), math.MaxInt32)
	default:
		return number{d.at(n), value}
	}
	return number{}
}

// date reads a day, in quotes or without.
func (d *decoder) date(n *yaml.Node, where string) date {
	n = d.follow(n)
	day, err := time.Parse(time.DateOnly, n.Value)
	if tag := n.ShortTag(); err != nil || tag != "!!timestamp" && tag != "!!str" {
		d.fault(d.at(n), where, "want a date such as 2026-12-31, got %s", describe(n))
		return date{}
	}
	return date{d.at(n), day}
}

// span reads a duration as Prometheus writes it: 6h, 1d12h, or 0.
func (d *decoder) span(n *yaml.Node, where, want string) span {
	n = d.follow(n)
	value, err := model.ParseDuration(n.Value)
	if tag := n.ShortTag(); err != nil || tag != "!!str" && (tag != "!!int" || n.Value != "0") {
		d.fault(d.at(n), where, "want %s, got %s", want, describe(n))
		return span{}
	}
	return span{d.at(n), time.Duration(value)}
}

// truth reads true or false. YAML's older words for them, such as yes, are refused.
func (d *decoder) truth(n *yaml.Node, where string) truth {
	n = d.follow(n)
	if n.ShortTag() != "!!bool" {
		d.fault(d.at(n), where, "want true or false, got %s", describe(n))
		return truth{}
	}
	return truth{d.at(n), strings.EqualFold(n.Value, "true")}
}

// decimal parses what a person writes: no sign but minus, no leading zero.
func decimal(s string) (int64, bool) {
	v, err := strconv.ParseInt(s, 10, 64)
	return v, err == nil && strconv.FormatInt(v, 10) == s
}

// parseSize parses a whole number and a unit.
func parseSize(s string) (int64, bool) {
	unit := strings.TrimLeft(s, "-0123456789")
	v, ok := decimal(strings.TrimSuffix(s, unit))
	shift, known := unitShift(unit)
	if v < 0 || v > math.MaxInt32 {
		shift = 0 // refused either way, and must not wrap around into what is allowed
	}
	return v << shift, ok && known
}

// unitShift returns which power of two a unit is. KB is KiB, as in Prometheus.
func unitShift(unit string) (uint, bool) {
	switch unit {
	case "B":
		return 0, true
	case "KiB", "KB":
		return 10, true
	case "MiB", "MB":
		return 20, true
	case "GiB", "GB":
		return 30, true
	}
	return 0, false
}
