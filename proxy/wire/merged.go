package wire

import (
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/rules/finding"
)

// Merged is a metric that stands for several which a rule made equal.
type Merged struct {
	// Metrics is how many it stands for.
	Metrics int
	// Parts are the first of those as lines of text, label values redacted, and
	// Whole the one that goes on.
	Parts []string
	Whole string
}

// Merged tells people what Merge joined, from the fates as Merge left them, with
// at most so many parts of each metric.
func (p *Push) Merged(fates []Fate, parts int) []Merged {
	type slot struct {
		family int32
		output uint64
	}
	members := map[slot][]int32{}
	for i := range fates {
		if fates[i].merged != nil || fates[i].Act == LeaveOut && fates[i].Labels != nil {
			k := slot{p.Metrics()[i].Family, fates[i].Output}
			members[k] = append(members[k], int32(i))
		}
	}
	var out []Merged
	for i := range fates {
		if fates[i].merged == nil {
			continue
		}
		set := slices.DeleteFunc(members[slot{p.Metrics()[i].Family, fates[i].Output}], func(m int32) bool {
			return !sameLabels(fates[i].Labels, fates[m].Labels)
		})
		out = append(out, Merged{
			Metrics: len(set),
			Parts:   p.partTexts(set[:min(len(set), parts)]),
			Whole:   p.mergedText(i, &fates[i]),
		})
	}
	return out
}

func (p *Push) partTexts(set []int32) []string {
	values, err := p.values([][]int32{set})
	if err != nil {
		return nil // cannot be: Merge has read them
	}
	texts := make([]string, 0, len(set))
	for _, m := range set {
		ls := p.Labels(nil, int(m))
		for i := range ls {
			ls[i].Value = finding.RedactLabel(ls[i].Name, ls[i].Value)
		}
		texts = append(texts, p.metricText(int(m), ls, values[m]))
	}
	return texts
}

func (p *Push) mergedText(metric int, fate *Fate) string {
	if p.Encoding == Text {
		return string(fate.merged)
	}
	var m dto.Metric
	if err := proto.Unmarshal(fate.merged, &m); err != nil {
		return "" // cannot be: Merge has written it
	}
	return p.metricText(metric, fate.Labels, &m)
}

// metricText writes one metric as lines of text.
func (p *Push) metricText(metric int, ls []labels.Label, m *dto.Metric) string {
	f := &p.Families[p.Metrics()[metric].Family]
	return string(appendTextMetric(nil, f.Name, AppendLabels(nil, Text, ls), f.Type, m))
}
