package counter

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"

	"github.com/prometheus/prometheus/model/labels"
)

// Identity tells one counter, or one group, from all others, whatever rules make
// of them later: 128 bits of a keyed hash. The zero value is nobody's.
type Identity struct{ hi, lo uint64 }

func (i Identity) plus(o Identity) Identity {
	lo, carry := bits.Add64(i.lo, o.lo, 0)
	hi, _ := bits.Add64(i.hi, o.hi, carry)
	return Identity{hi, lo}
}

func (i Identity) minus(o Identity) Identity {
	lo, borrow := bits.Sub64(i.lo, o.lo, 0)
	hi, _ := bits.Sub64(i.hi, o.hi, borrow)
	return Identity{hi, lo}
}

// mixed ends a sum of hashes, so that sums of identities mean nothing.
func (i Identity) mixed() Identity {
	lo := mix(i.lo ^ mix(i.hi))
	return Identity{i.hi ^ mix(lo), lo}
}

// mix is the finaliser of MurmurHash3, a bijection.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Hasher makes identities. They depend on a secret, so that who does not know it
// cannot look for two counters of one identity, and are the same in every
// process that has it: baselines outlive the process. It is safe for concurrent
// use.
type Hasher struct{ secret [sha256.Size]byte }

// NewHasher returns a hasher under a secret of whatever length.
func NewHasher(secret []byte) *Hasher {
	return &Hasher{secret: sha256.Sum256(secret)}
}

// hash is keyed by the secret. The word says what a and b are.
func (h *Hasher) hash(word byte, a, b string) Identity {
	var room [512]byte
	buf := append(room[:0], h.secret[:]...)
	buf = append(buf, word)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(a)))
	buf = append(buf, a...)
	buf = append(buf, b...)
	sum := sha256.Sum256(buf)
	return Identity{binary.LittleEndian.Uint64(sum[:]), binary.LittleEndian.Uint64(sum[8:])}
}

const (
	hashFamily byte = iota + 1
	hashLabel
	hashKey
)

// labelHash is a label of a group or a metric.
type labelHash struct {
	name uint64
	pair Identity
}

// label hashes a label; one with an empty value is none to Prometheus.
func (h *Hasher) label(l labels.Label) labelHash {
	lh := labelHash{name: h.hash(hashLabel, l.Name, "").lo}
	if l.Value != "" {
		lh.pair = h.hash(hashLabel, l.Name, l.Value)
	}
	return lh
}

// GroupHash is what a grouping key gives to the identities of its metrics. It is
// made once a push.
type GroupHash struct {
	labels []labelHash
	sum    Identity
}

// MetricHash is what a family and the labels of a metric give to its identity,
// whatever group it is pushed to. It is not changed once it is made, and made to
// be kept with all else that is known of the metric.
type MetricHash struct {
	labels []labelHash
	sum    Identity
}

// Group hashes a grouping key as the client sent it, its labels in any order, job
// among them. Memory of dst is used again.
func (h *Hasher) Group(dst *GroupHash, key []labels.Label) {
	dst.labels, dst.sum = dst.labels[:0], Identity{}
	for _, l := range key {
		lh := h.label(l)
		dst.labels = append(dst.labels, lh)
		dst.sum = dst.sum.plus(lh.pair)
	}
}

// Metric hashes a family and the labels of a metric as they were pushed, in any
// order, le and quantile left out where they make samples.
func (h *Hasher) Metric(family string, ls []labels.Label) MetricHash {
	m := MetricHash{sum: h.hash(hashFamily, family, "")}
	for _, l := range ls {
		lh := h.label(l)
		m.labels = append(m.labels, lh)
		m.sum = m.sum.plus(lh.pair)
	}
	return m
}

// Identity is that of the group itself.
func (g *GroupHash) Identity() Identity { return g.sum.mixed() }

// Of is the identity of a metric in this group. Labels of the group take the
// place of the metric's own of that name, as in a Pushgateway.
func (g *GroupHash) Of(m *MetricHash) Identity {
	sum := g.sum.plus(m.sum)
	for i := range m.labels {
		for j := range g.labels {
			if m.labels[i].name == g.labels[j].name {
				sum = sum.minus(m.labels[i].pair)
			}
		}
	}
	return sum.mixed()
}
