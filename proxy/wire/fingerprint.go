package wire

import (
	"crypto/sha256"
	"encoding/binary"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
)

// LabelValue is a value of a label, known by keyed hashes alone.
type LabelValue struct {
	Label uint64 // the label's name
	Value uint64 // name and value together
}

// MetricPrint is a metric as a ledger counts it.
type MetricPrint struct {
	// Fingerprint tells the metric from others of its family and group; see Print.
	Fingerprint uint64
	// Samples is how many series the metric makes in an exposition.
	Samples int32
}

// FamilyPrint is a family of a group as a ledger counts it.
type FamilyPrint struct {
	Name string
	// Type is what the family was listed as; not known of others.
	Type    dto.MetricType
	Metrics []MetricPrint
	// Values are those that Print gives for the metrics, each once, in no order.
	Values []LabelValue
}

// Fingerprint is a hash of labels in whatever order, those with an empty value
// left out: to Prometheus they are no labels. It is keyed by a secret seed; who
// does not know that cannot look for two label sets with one fingerprint. Under
// one seed equal label sets have equal fingerprints.
func Fingerprint(seed uint64, ls []labels.Label) uint64 {
	var sum uint64
	for _, l := range ls {
		if !isEmpty(l) {
			sum += hashLabel(seed, l.Name, l.Value)
		}
	}
	return mix(sum)
}

// Print is the one measure of a metric that is pushed to a group: the
// fingerprint and the values of its labels, the values appended to dst. Labels
// of the group count for neither: a Pushgateway overwrites a metric's own by
// them. Nor do empty ones, such as the instance it gives to a metric without.
func Print(seed uint64, group Key, ls []labels.Label, dst []LabelValue) (uint64, []LabelValue) {
	var sum uint64
	for _, l := range ls {
		if _, overwritten := group.Get(l.Name); overwritten || isEmpty(l) {
			continue
		}
		h := hashLabel(seed, l.Name, l.Value)
		sum += h
		dst = append(dst, LabelValue{Label: hashLabel(seed, l.Name, ""), Value: h})
	}
	return mix(sum), dst
}

// GroupPrinter is Print for a whole group whose labels are known only after its
// metrics, each of which carries them. The zero value but for Seed is empty.
type GroupPrinter struct {
	Seed uint64

	families []FamilyPrint
	seen     map[LabelValue]struct{} // of the last family
}

// Family begins a family. It need not have metrics.
func (p *GroupPrinter) Family(name string) {
	p.families = append(p.families, FamilyPrint{Name: name})
	p.seen = make(map[LabelValue]struct{})
}

// Type says of which type the last family is.
func (p *GroupPrinter) Type(t dto.MetricType) { p.families[len(p.families)-1].Type = t }

// Metric adds a metric, with all its labels, to the last family.
func (p *GroupPrinter) Metric(ls []labels.Label, samples int32) {
	f := &p.families[len(p.families)-1]
	var sum uint64
	for _, l := range ls {
		if isEmpty(l) {
			continue
		}
		h := hashLabel(p.Seed, l.Name, l.Value)
		sum += h
		v := LabelValue{Label: hashLabel(p.Seed, l.Name, ""), Value: h}
		if _, ok := p.seen[v]; !ok {
			p.seen[v] = struct{}{}
			f.Values = append(f.Values, v)
		}
	}
	f.Metrics = append(f.Metrics, MetricPrint{Fingerprint: sum, Samples: samples})
}

// Finish takes the labels of the group off all metrics, and returns the families.
func (p *GroupPrinter) Finish(group Key) []FamilyPrint {
	var own uint64
	hashes := make(map[uint64]struct{}, len(group.labels))
	for _, l := range group.labels {
		if !isEmpty(l) {
			h := hashLabel(p.Seed, l.Name, l.Value)
			own += h
			hashes[h] = struct{}{}
		}
	}
	for i := range p.families {
		f := &p.families[i]
		for j := range f.Metrics {
			f.Metrics[j].Fingerprint = mix(f.Metrics[j].Fingerprint - own)
		}
		values := f.Values[:0]
		for _, v := range f.Values {
			if _, ofGroup := hashes[v.Value]; !ofGroup {
				values = append(values, v)
			}
		}
		f.Values = values
	}
	return p.families
}

// hashLabel is a keyed hash of one label. It is not one of the fast hashes,
// whose collisions do not depend on the seed. Sums of it stand for label sets.
func hashLabel(seed uint64, name, value string) uint64 {
	var room [256]byte
	b := binary.LittleEndian.AppendUint64(room[:0], seed)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	b = append(b, value...)
	sum := sha256.Sum256(b)
	return binary.LittleEndian.Uint64(sum[:])
}

// mix ends a sum, so that sums of fingerprints mean nothing. It is the finaliser
// of MurmurHash3, a bijection.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}
