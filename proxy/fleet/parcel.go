package fleet

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// pushTimes and failureTimes are the families that a Pushgateway itself writes.
const pushTimes, failureTimes = "push_time_seconds", "push_failure_time_seconds"

// mostSeries is about how many series are read at once of groups that are to move.
const mostSeries = 100_000

// parcel is what a group holds, to be put elsewhere.
type parcel struct {
	of     gateway.Group // as it is listed where it is
	writes int           // of its standing, before it was read
	left   map[print]bool
	body   bytes.Buffer // its families, as delimited messages
	// unfit says why it must not be put where it belongs, nil if it may.
	unfit error
}

// print is a metric of a group.
type print struct {
	family      string
	fingerprint uint64
}

// read returns what an upstream holds of the groups that are wanted, or of some of them.
// A group that changes meanwhile may be missing.
func (p *pass) read(ctx context.Context, at int, wanted map[string]standing) ([]*parcel, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	groups, err := p.list(ctx, at, p.seed)
	if err != nil {
		return nil, err
	}
	known, series := newAtlas[*parcel](), 0
	var parcels []*parcel
	for _, g := range groups {
		s, ok := wanted[g.Key.ID()]
		if !ok || series > mostSeries {
			continue
		}
		c := newParcel(g, s)
		known.add(g.Key, c)
		parcels, series = append(parcels, c), series+len(c.left)
	}
	if err := p.all[at].EachFamily(ctx, func(family *dto.MetricFamily) error { return p.sort(family, known) }); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(parcels, func(p *parcel) bool { return len(p.left) > 0 }), nil
}

func newParcel(g gateway.Group, s standing) *parcel {
	return &parcel{of: g, writes: s.writes, left: printsOf(g)}
}

// printsOf are the metrics of a group.
func printsOf(g gateway.Group) map[print]bool {
	out := map[print]bool{}
	for _, family := range g.Families {
		for _, m := range family.Metrics {
			out[print{family.Name, m.Fingerprint}] = true
		}
	}
	return out
}

// sort puts the metrics of a family into the parcels of their groups.
func (p *pass) sort(family *dto.MetricFamily, known *atlas[*parcel]) error {
	name := family.GetName()
	if name == pushTimes || name == failureTimes {
		return nil
	}
	parts := map[*parcel]*dto.MetricFamily{}
	for _, m := range family.Metric {
		ls := labelsOf(m)
		known.find(ls, func(c *parcel) bool {
			fingerprint, _ := wire.Print(p.seed, c.of.Key, ls, nil)
			of := print{name, fingerprint}
			if !c.left[of] {
				return false
			}
			delete(c.left, of)
			if home := p.homes[p.Place(c.of.Key)]; home != nil && c.unfit == nil && home.holds(c.of.Key, name, ls) {
				c.unfit = fmt.Errorf("another group there has a series of its %q", name)
			}
			if parts[c] == nil {
				parts[c] = &dto.MetricFamily{Name: family.Name, Help: family.Help, Type: family.Type, Unit: family.Unit}
			}
			m.Label = without(c.of.Key, m.Label)
			parts[c].Metric = append(parts[c].Metric, m)
			return true
		})
	}
	for c, part := range parts {
		if _, err := protodelim.MarshalTo(&c.body, part); err != nil {
			return err
		}
	}
	return nil
}

// without are the labels that were pushed: not those of the group, nor the empty instance
// that a Pushgateway adds.
func without(group wire.Key, ls []*dto.LabelPair) []*dto.LabelPair {
	return slices.DeleteFunc(ls, func(l *dto.LabelPair) bool {
		_, ofGroup := group.Get(l.GetName())
		return ofGroup || l.GetName() == model.InstanceLabel && l.GetValue() == ""
	})
}

// holds reports whether a group that is listed has all that was put there.
func (p *copied) holds(listed gateway.Group, untouched bool) bool {
	has := map[print]bool{}
	for _, family := range listed.Families {
		has[print{family: family.Name}] = true
		for _, m := range family.Metrics {
			has[print{family.Name, m.Fingerprint}] = true
		}
	}
	for _, family := range p.of.Families {
		if !has[print{family: family.Name}] {
			return false
		}
		for _, m := range family.Metrics {
			if untouched && !has[print{family.Name, m.Fingerprint}] {
				return false
			}
		}
	}
	return true
}

func labelsOf(m *dto.Metric) []labels.Label {
	out := make([]labels.Label, len(m.Label))
	for i, l := range m.Label {
		out[i] = labels.Label{Name: l.GetName(), Value: l.GetValue()}
	}
	return out
}
