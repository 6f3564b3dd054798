package wire

import dto "github.com/prometheus/client_model/go"

// Part is which sample of its metric a sample is.
type Part uint8

// The parts. The zero value is none.
const (
	Whole Part = iota + 1 // the only one of a counter, gauge or untyped metric
	Bound                 // a bucket of a histogram, or a quantile of a summary
	Sum
	Count
)

// PartOf is which sample of its metric a sample of a text push is.
func (p *Push) PartOf(sample int) Part {
	s := &p.Samples[sample]
	switch t := p.Families[p.Metrics[s.Metric].Family].Type; {
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
