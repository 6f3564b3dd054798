// Package policy reads what the platform team writes: a YAML file, or a folder of them, that says,
// for every job, who owns it, what a push of it may hold, what happens to the
// rest, and whether that is enforced or only reported.
//
// A policy is accepted whole or not at all, and every fault in it is reported
// with its line and column. The file is described in docs/policy.md.
package policy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pushguard/pushguard/rules"
)

// Mode is how far an entry's rules and limits reach. The zero value is no mode
// and never permits anything.
type Mode string

// The modes.
const (
	Open    Mode = "open"    // nothing is judged
	Report  Mode = "report"  // everything is judged, nothing is changed
	Enforce Mode = "enforce" // everything is judged and acted upon
)

// Entry is what holds for the jobs that one pattern matches, with everything it
// inherits filled in. It is not changed after the policy is read; share it freely.
type Entry struct {
	// Name is the job pattern as written, or "default".
	Name string
	// File and Line are where the entry stands, the line from 1; zero for a
	// default that is not written.
	File string
	Line int
	// Owner is who answers for these jobs; empty if nobody is named.
	Owner string
	// Mode is Open, Report or Enforce.
	Mode Mode
	// Rules judge a push. Entries that say the same may share one Set.
	Rules *rules.Set
	// EntryBudget is how many series all jobs of this entry may hold together; 0
	// only measures. What each may hold, Budget says.
	EntryBudget int
	// EntryJobs is how many jobs of this entry may hold something at a time, and
	// EntryNewJobsPerDay how many jobs that held nothing before may come in a day;
	// 0 only measures.
	EntryJobs, EntryNewJobsPerDay int
	// OnOverBudget is Trim, RejectPush, Collapse or EvictOldest.
	OnOverBudget OverBudget
	// StaleAfter is how old the last accepted push of a group may be; an older
	// group is to be deleted. 0 is never.
	StaleAfter time.Duration
	// KeepLastSuccess spares one group of each job from being swept or evicted:
	// the one that last told of a success.
	KeepLastSuccess bool
	// Counters says which families add up, and how.
	Counters Counters
	// Merge is MergeFamilies or MergeReplace.
	Merge Merge
	// AcceptRefused answers a push that the policy refuses as if it were
	// accepted, and drops it: for jobs that must not fail over a metric.
	AcceptRefused bool
	// ID is the entry's index in Policy.Entries.
	ID int

	// own is the entry's budget, fallback what holds after its end.
	own, fallback Budget
	// literal is set if the pattern is a plain name: the entry governs one job.
	literal bool
	// push are the names of those who may push.
	push []string
	// isJob is not set for default.
	isJob bool
	// written is what the rules and limits were compiled from, for its lines.
	written judged
	lines   lines
}

// OverBudget is what happens to a push whose new metrics a budget has no room
// for. What a group holds always passes.
type OverBudget string

// The ways to stay within a budget.
const (
	Trim        OverBudget = "trim"         // the new metrics are left out
	RejectPush  OverBudget = "reject"       // the push is refused
	Collapse    OverBudget = "collapse"     // label values that are new to the job become one
	EvictOldest OverBudget = "evict_oldest" // the job's oldest groups make room
)

// Merge is what a PUT does to a group that several raw grouping keys share.
type Merge string

// The ways to merge.
const (
	MergeFamilies Merge = "families" // it replaces the families it carries, as a POST
	MergeReplace  Merge = "replace"  // it replaces the group
)

// Policy is a whole policy, ready to use. It never changes, and may be used by
// many goroutines at once.
type Policy struct {
	digest string
	auth   Auth
	// besides are the files of users, which the digest does not tell.
	besides []string
	files   []string
	sources []source
	// entries are in file order, default last, so that a lower ID goes first.
	entries []*Entry
	// literals are the entries whose pattern is a plain job name.
	literals map[string]*Entry
	// patterns are the others, in file order.
	patterns []pattern
	jobs     rules.Shapes // what job names are folded by
	folded   words        // the same, as written
	series   int
	groups   int
	reserved int
	dated    []dated
	tests    []Test
}

// pattern is an entry whose job pattern is more than a plain name.
type pattern struct {
	entry *Entry
	// prefix begins every job name that re matches; it spares most calls of re.
	prefix string
	re     *regexp.Regexp
}

func (p *pattern) matches(job string) bool {
	return strings.HasPrefix(job, p.prefix) && p.re.MatchString(job)
}

// FoldJob returns the name under which a job is governed, budgeted and exposed:
// without what fold_jobs takes for the name of one run. Folding twice changes
// nothing more, and no name but the empty one becomes empty.
func (p *Policy) FoldJob(job string) string { return p.jobs.Fold("job", job) }

// FoldsJobs reports whether there are names that FoldJob changes.
func (p *Policy) FoldsJobs() bool { return p.jobs != rules.Shapes{} }

// Entry returns the entry that governs a job, its name folded: the first in file order whose
// pattern matches the whole name, or default. It is never nil.
func (p *Policy) Entry(job string) *Entry {
	found, ok := p.literals[job]
	if !ok {
		found = p.entries[len(p.entries)-1]
	}
	for i := range p.patterns {
		if p.patterns[i].entry.ID > found.ID {
			break
		}
		if p.patterns[i].matches(job) {
			return p.patterns[i].entry
		}
	}
	return found
}

// SeriesBudget is how many series all jobs may hold together; 0 only measures.
func (p *Policy) SeriesBudget() int { return p.series }

// GroupsBudget is how many groups all jobs may have together; 0 only measures.
func (p *Policy) GroupsBudget() int { return p.groups }

// Reserved is how many series are guaranteed to entries, all of them together.
// Of SeriesBudget the rest is what jobs may borrow of and what jobs of entries
// without a guarantee draw on.
func (p *Policy) Reserved() int { return p.reserved }

// Digest is 12 hexadecimal digits that tell the bytes of these files from others.
func (p *Policy) Digest() string { return p.digest }

// Files returns the names of the files that the policy was read from, in order.
func (p *Policy) Files() []string { return slices.Clone(p.files) }

// Besides returns the names of the files of users that were read with it.
func (p *Policy) Besides() []string { return slices.Clone(p.besides) }

// Entries returns all entries in file order, default last.
func (p *Policy) Entries() []*Entry { return slices.Clone(p.entries) }

// InReport is the same policy, but that what it enforces it only reports.
func (p *Policy) InReport() *Policy {
	out := *p
	out.entries, out.patterns, out.literals = slices.Clone(p.entries), slices.Clone(p.patterns), maps.Clone(p.literals)
	for i, e := range out.entries {
		if e.Mode != Enforce {
			continue
		}
		reporting := *e
		reporting.Mode = Report
		out.entries[i] = &reporting
	}
	for i := range out.patterns {
		out.patterns[i].entry = out.entries[out.patterns[i].entry.ID]
	}
	for name, e := range out.literals {
		out.literals[name] = out.entries[e.ID]
	}
	return &out
}
