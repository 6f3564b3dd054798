package consistency

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/wire"
)

// family is a family of one group.
type family struct {
	store.Family
	// prints are the fingerprints of its metrics, as wire.Print has them, sorted.
	prints []uint64
	// push and metrics are where the labels of the metrics are found, as long as they
	// are being pushed; metrics are indices of r.Push.Metrics.
	push    *gateway.Request
	metrics []int32
}

var errTimestamps = errors.New("pushed metrics must not have timestamps")

// read returns the families that a push brings, in the order of their names, or why it
// contradicts itself: that a metric has a timestamp, or that two are one.
func read(r gateway.Request, seed uint64) ([]family, error) {
	p := r.Push
	if p == nil {
		return nil, nil
	}
	out := families(&r)
	metrics := p.Metrics()
	for i := range metrics {
		m := &metrics[i]
		f := &out[m.Family]
		if f.push == nil || r.Fates != nil && r.Fates[i].Act == wire.LeaveOut {
			continue
		}
		if p.Stamped(i) {
			return nil, errTimestamps
		}
		f.prints = append(f.prints, printOf(r, i, seed))
		f.metrics = append(f.metrics, int32(i))
	}
	out = slices.DeleteFunc(out, func(f family) bool { return f.push == nil || len(f.prints) == 0 })
	for i := range out {
		if alone(out[i].Name) {
			return nil, fmt.Errorf("gathered metric family %s is the Pushgateway's own", out[i].Name)
		}
		if err := out[i].once(seed); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(out, func(a, b family) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// families are those of a push, with room for their metrics. One that does not go on has
// no push.
func families(r *gateway.Request) []family {
	p := r.Push
	out := make([]family, len(p.Families))
	prints, metrics := make([]uint64, len(p.Metrics())), make([]int32, len(p.Metrics()))
	last := map[string]int{}
	for i := range p.Families {
		f := &p.Families[i]
		if wire.Reserved(f.Name) {
			continue
		}
		if p.Encoding == wire.Protobuf { // where a name may stand again, and the last counts
			if before, ok := last[f.Name]; ok {
				out[before].push = nil
			}
			last[f.Name] = i
		}
		n := f.Metrics
		out[i] = family{Family: store.Family{Name: f.Name, Type: f.Type}, push: r, prints: prints[:0:n], metrics: metrics[:0:n]}
		prints, metrics = prints[n:], metrics[n:]
	}
	return out
}

// printOf is wire.Print of a metric that goes on, which mostly is known.
func printOf(r gateway.Request, metric int, seed uint64) uint64 {
	if r.Fates != nil && r.Fates[metric].Output != 0 && !overwrites(r.Key, r.Fates[metric].Labels) {
		return r.Fates[metric].Output
	}
	fp, _ := wire.Print(seed, r.Key, labelsOf(r, metric), nil)
	return fp
}

func overwrites(key wire.Key, ls []labels.Label) bool {
	return slices.ContainsFunc(ls, func(l labels.Label) bool {
		_, ok := key.Get(l.Name)
		return ok
	})
}

// labelsOf are the labels with which a metric goes on, without those of its group.
func labelsOf(r gateway.Request, metric int) []labels.Label {
	if r.Fates != nil && r.Fates[metric].Labels != nil {
		return r.Fates[metric].Labels
	}
	return r.Push.Labels(nil, metric)
}

// once sorts the fingerprints, and holds each metric to being the only one of its labels.
func (f *family) once(seed uint64) error {
	slices.Sort(f.prints)
	for i := 1; i < len(f.prints); i++ {
		if f.prints[i] != f.prints[i-1] {
			continue
		}
		for _, m := range f.metrics {
			if printOf(*f.push, int(m), seed) == f.prints[i] {
				return f.twice(int(m))
			}
		}
	}
	return nil
}

func (f *family) twice(metric int) error {
	return fmt.Errorf("collected metric %q { %s} was collected before with the same name and label values", f.Name, f.words(metric))
}

// words are the labels of a metric in its group, as a Pushgateway's errors have them.
func (f *family) words(metric int) string {
	m := &dto.Metric{}
	for _, l := range whole(f.push.Key, labelsOf(*f.push, metric)) {
		m.Label = append(m.Label, &dto.LabelPair{Name: proto.String(l.Name), Value: proto.String(l.Value)})
	}
	// The library varies the spaces of its text, so that nobody relies on it.
	return strings.Join(strings.Fields(m.String()), " ") + " "
}

// whole are the labels of a metric in a group, sorted: those of the group overwrite its
// own, and without an instance it has an empty one.
func whole(key wire.Key, ls []labels.Label) []labels.Label {
	out := slices.Clone(key.Labels())
	for _, l := range ls {
		if _, overwritten := key.Get(l.Name); !overwritten {
			out = append(out, l)
		}
	}
	if !slices.ContainsFunc(out, func(l labels.Label) bool { return l.Name == model.InstanceLabel }) {
		out = append(out, labels.Label{Name: model.InstanceLabel})
	}
	slices.SortFunc(out, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) })
	return out
}
