package wire

import (
	"bytes"
	"slices"

	dto "github.com/prometheus/client_model/go"
)

// Part is which sample of its metric a sample is.
type Part uint8

// The parts. The zero value is none.
const (
	Whole Part = iota + 1 // the only one of a counter, gauge or untyped metric
	Bound                 // a bucket of a histogram, or a quantile of a summary
	Sum
	Count
)

// Single reports whether every metric of a text push is of one line: then the samples
// are those of the metrics, one by one.
func (p *Push) Single() bool {
	return !slices.ContainsFunc(p.Families, func(f Family) bool { return f.Metrics > 0 && boundName(f.Type) != "" })
}

// Values appends the values of the metrics of a push that are single. It files no
// samples.
func (p *Push) Values(dst []float64) []float64 {
	dst = slices.Grow(dst, len(p.Metrics()))
	if !p.unfiled {
		for i := range p.samples {
			dst = append(dst, p.samples[i].Value)
		}
		return dst
	}
	for body := p.Body; len(body) > 0; {
		end := bytes.IndexByte(body, '\n') + 1
		if isNameStart(body[0]) {
			n := nameLength(body)
			labels, _ := p.block.scan(body[n:end], "", Limits{})
			v, _, _ := value(body[n+labels : end])
			dst = append(dst, v)
		}
		body = body[end:]
	}
	return dst
}

// PartOf is which sample of its metric a sample of a text push is.
func (p *Push) PartOf(sample int) Part {
	s := &p.samples[sample]
	switch t := p.Families[p.Metrics()[s.Metric].Family].Type; {
	case t != dto.MetricType_HISTOGRAM && t != dto.MetricType_SUMMARY:
		return Whole
	case s.part == partSum:
		return Sum
	case s.part == partCount:
		return Count
	default:
		return Bound
	}
}

// ValueText is the value of a sample of a text push as it was written. It is valid as
// long as the body is.
func (p *Push) ValueText(sample int) []byte { return p.bytes(p.valueOf(sample)) }
