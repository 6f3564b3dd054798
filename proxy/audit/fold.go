package audit

import (
	"net"
	"slices"
	"strings"
	"time"
)

const (
	// foldFor is how long rejections of one kind are counted before the count is
	// written.
	foldFor = 10 * time.Second
	// maxKinds bounds the kinds that are counted at a time; those beyond are
	// written one by one. maxKindsOfClient is how many one client has for itself;
	// those beyond share one.
	maxKinds         = 1000
	maxKindsOfClient = 20
)

// kind is what rejections have in common that are folded into one record.
type kind struct {
	client, user, job, method, mode, policy, outcome, would, findings string
	status                                                            int
}

// folding are the rejections that were counted and not written yet.
type folding struct {
	kinds   map[kind]*folded
	clients map[string]int // how many kinds each has
}

// folded are rejections of one kind, since the last record of it.
type folded struct {
	last    Record
	newest  time.Time // record of the kind in the log; zero: there is none
	first   time.Time
	count   int
	started time.Time
	various bool
}

func newFolding() *folding {
	return &folding{kinds: map[kind]*folded{}, clients: map[string]int{}}
}

// folds reports whether records such as r are counted if they come often: what a
// client that is refused sends again and again.
func (r Record) folds() bool {
	return r.Client != "" && (r.Outcome == "refused" || r.Outcome == "failed" || r.Would == "refused")
}

// take counts a record and reports whether that is all there is to do, and the time of
// the newest record of its kind in the log; the first of a kind is to be written.
func (f *folding) take(r Record, now time.Time) (newest time.Time, counted bool) {
	k := kindOf(r)
	if k.is(f, r) {
		return f.kinds[k].newest, true
	}
	various := f.clients[k.client] >= maxKindsOfClient
	if various {
		k = kind{client: k.client, outcome: k.outcome, would: k.would, status: k.status}
		if k.is(f, r) {
			return time.Time{}, true // its record is of another kind
		}
	}
	if len(f.kinds) < maxKinds {
		f.kinds[k] = &folded{started: now, various: various}
		f.clients[k.client]++
	}
	return time.Time{}, false
}

// wrote notes that a record is in the log.
func (f *folding) wrote(r Record) {
	if known := f.kinds[kindOf(r)]; known != nil && !known.various && !r.Various {
		known.newest = r.Time
	}
}

// is counts a record of a kind that is known.
func (k kind) is(f *folding, r Record) bool {
	known := f.kinds[k]
	if known == nil {
		return false
	}
	if known.count == 0 {
		known.first = r.Time
	}
	if !r.Time.Before(known.last.Time) {
		known.last = r.clone()
	}
	known.count++
	return true
}

// due takes out the records of what was counted for long enough, or of all.
func (f *folding) due(now time.Time, all bool) []Record {
	var out []Record
	for k, known := range f.kinds {
		if !all && now.Sub(known.started) < foldFor {
			continue
		}
		if known.count == 0 || all {
			f.forget(k)
		}
		if known.count > 0 {
			out = append(out, known.record())
			known.count, known.started, known.last = 0, now, Record{}
		}
	}
	return out
}

func (f *folding) forget(k kind) {
	delete(f.kinds, k)
	if f.clients[k.client]--; f.clients[k.client] == 0 {
		delete(f.clients, k.client)
	}
}

// record is the last of them, with how many there were since when.
func (f *folded) record() Record {
	r, first := f.last, f.first.UTC()
	r.Count, r.First, r.Various = f.count, &first, f.various
	return r
}

// clone is a record that shares no memory with the push it is of.
func (r Record) clone() Record {
	for _, s := range []*string{
		&r.Job, &r.Governed, &r.Entry, &r.Group, &r.Owner, &r.Method, &r.Client, &r.User, &r.Mode, &r.Policy, &r.Outcome, &r.Would, &r.Reason,
	} {
		*s = strings.Clone(*s)
	}
	r.Findings = slices.Clone(r.Findings)
	for i := range r.Findings {
		f := &r.Findings[i]
		f.ID, f.Metric, f.Label = strings.Clone(f.ID), strings.Clone(f.Metric), strings.Clone(f.Label)
		f.Sample, f.Fix = strings.Clone(f.Sample), strings.Clone(f.Fix)
	}
	return r
}

// kindOf copies what it takes of a record.
func kindOf(r Record) kind {
	host, _, err := net.SplitHostPort(r.Client)
	if err != nil {
		host = r.Client
	}
	job := r.Governed
	if job == "" {
		job = r.Job
	}
	var ids strings.Builder
	for _, f := range r.Findings {
		ids.WriteString(f.ID + "\xff" + f.Metric + "\xff" + f.Label + "\xff")
	}
	return kind{
		client: strings.Clone(host), user: strings.Clone(r.User), job: strings.Clone(job), method: r.Method, mode: r.Mode, policy: r.Policy,
		outcome: r.Outcome, would: r.Would, findings: ids.String(), status: r.Status,
	}
}
