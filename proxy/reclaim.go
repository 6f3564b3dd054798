package proxy

import (
	"runtime/debug"
	"runtime/metrics"
)

const (
	// reclaimedBody is the smallest body of a plain push of which a stage lets go of what
	// the next does not need, and Go's collector runs.
	reclaimedBody = 4 << 20
	// reclaimedShare is how many times such a body the live heap may be, lest that takes
	// longer than the push.
	reclaimedShare = 4
)

// passesWhole reports whether all of a push goes on as it came, and it is so large that
// its memory counts.
func (v *passage) passesWhole() bool {
	n := &v.counts
	return v.reclaims && len(v.fates) == 0 && !n.any && len(n.held) == 0
}

// letClasses lets go of which class the families of a large push are once that has been
// decided on.
func (v *passage) letClasses() {
	if v.passesWhole() {
		v.counts.families, v.counts.classes = nil, nil
		v.reclaim()
	}
}

// letMetrics lets go of the metrics of a large push once they are claimed: they are read
// again for who asks for them.
func (v *passage) letMetrics() {
	if v.passesWhole() {
		v.push.Let()
		v.reclaim()
	}
}

// letClaim lets go of the claim of a large push once it is ruled on.
func (v *passage) letClaim() {
	if v.passesWhole() {
		v.claim.Metrics, v.claim.Values, v.claim.slots = nil, nil, nil
		v.reclaim()
	}
}

// reclaim has the collector run, unless what is held is much beside the push. What is free
// then goes back to the system: the tables of the next step are in one piece each, and have
// no room in the holes that are left.
func (v *passage) reclaim() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	if metrics.Read(live); live[0].Value.Uint64() <= reclaimedShare*uint64(len(v.decoded)) {
		debug.FreeOSMemory()
	}
}
