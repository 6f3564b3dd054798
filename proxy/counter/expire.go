package counter

import (
	"maps"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Expire forgets the totals to which nothing was added, not even zero, for as long
// as idle says of their job; 0 is never. A family without any is anybody's to
// claim again. It returns how many it forgot; what was pushed goes on from its
// baseline, so a total that comes back begins at what is new.
func (t *Totals) Expire(idle func(job string) time.Duration) int {
	if t.shared != nil {
		return t.shared.expire(idle)
	}
	if t.journal != nil {
		t.journal.mu.Lock()
		defer t.journal.mu.Unlock()
	}
	gone, unit := t.expire(idle)
	if t.journal != nil {
		t.journal.append(unit)
	}
	return gone
}

// expire returns what is to be kept of it, too. The journal's lock is held, if
// there is one.
func (t *Totals) expire(idle func(job string) time.Duration) (gone int, unit []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.cfg.Now()
	for _, f := range t.families {
		before := gone
		for key, to := range f.totals {
			most := idle(jobOf(to.labels))
			if most <= 0 || now.Sub(time.Unix(to.used, 0)) < most+t.watch.Ahead(most) {
				continue
			}
			delete(f.totals, key)
			to.gone = true
			unit = to.appendGone(unit)
			gone++
		}
		if gone == before {
			continue
		}
		f.sorted = nil
		if len(f.totals) == 0 && f.claims == 0 {
			t.release(f)
		}
	}
	t.count -= gone
	if gone > 0 {
		maps.DeleteFunc(t.known, func(_ *Series, to *total) bool { return to.gone })
	}
	return gone, unit
}

// release makes a family no one's.
func (t *Totals) release(f *family) {
	delete(t.families, f.name)
	for _, n := range exposed(f.name, f.kind) {
		delete(t.names, n)
	}
}

func jobOf(ls []labels.Label) string {
	for _, l := range ls {
		if l.Name == model.JobLabel {
			return l.Value
		}
	}
	return ""
}
