package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/rules/finding"
)

const (
	// groupsShown is how many groups of a job a page has, and findingsShown how many
	// findings.
	groupsShown   = 100
	findingsShown = 20
	// maxGroupPages bounds how many groups are walked past for a page.
	maxGroupPages = 1000
)

// jobPage is the data of the page of one job.
type jobPage struct {
	Now time.Time
	proxy.JobDetail
	Row       row
	Place     string // the link to the entry that governs it
	Hour, Day spark
	Followed  bool // has a history
	Findings  []noticed
	Records   []audit.Record
	LabelRows []labelRow
	Most      int // values of its first label
	Unlooked  int // labels, of all jobs, for which the guard's estimate has no room
	Totals    int // series that are in no group: those of counters that are added up
	// First and Last are the groups that are shown, from 1; Prev and Next lead to the
	// others.
	First, Last int
	Prev, Next  string
}

func (p *jobPage) stream() url.Values {
	q := url.Values{"of": {"job"}, "name": {p.Job}}
	if p.First > 1 {
		q.Set("groups", strconv.Itoa((p.First-1)/groupsShown+1))
	}
	return q
}

// labelRow is a label of the table.
type labelRow struct {
	proxy.LabelView
	// Acted are the findings about it of late: the policy sees to it already.
	Acted []noticed
}

// noticed is a finding of late: the newest of its id and label.
type noticed struct {
	finding.Finding
	Time    time.Time
	Pushes  int
	Outcome string
	Would   string // enforced
	Place   string // the link to the line behind it
}

// noJob is what is said of a job of which nothing is known.
const noJob = "no job of that name holds anything or was refused lately; names are those after folding"

func (c *Console) job(r *http.Request) (any, error) {
	p, ok := c.jobPage(c.snapshot(), r.URL.Query())
	if !ok {
		return nil, &fault{http.StatusNotFound, noJob}
	}
	return p, nil
}

func (c *Console) jobPage(s *snapshot, q url.Values) (*jobPage, bool) {
	name := q.Get("name")
	if name == "" { // what was refused for want of a name is no job's
		return nil, false
	}
	records := c.feed.recent(func(r *audit.Record) bool { return r.Governed == name && r.Forecast == nil })
	n, _ := strconv.Atoi(q.Get("groups"))
	n = max(1, min(n, maxGroupPages))
	detail, ok := c.guard.Job(name, (n-1)*groupsShown, groupsShown)
	if last := max(1, (detail.Groups+groupsShown-1)/groupsShown); n > last { // they are gone
		n = last
		detail, ok = c.guard.Job(name, (n-1)*groupsShown, groupsShown)
	}
	if !ok && len(records) == 0 {
		return nil, false
	}
	p := &jobPage{Now: s.at, JobDetail: detail, Row: s.counts.row(detail.JobView, c.history.refusals(s)[name])}
	p.Place = c.place(p.File, p.Line)
	p.Unlooked = int(s.counts.sum("pushguard_labels_untracked", nil))
	p.Totals = totalsOf(&detail)
	hour, day, ok := c.history.of(name)
	p.Hour, p.Day, p.Followed = drawn(hour, p.Granted), drawn(day, p.Granted), ok
	p.Findings = c.noticed(name, records)
	p.Records = records[:min(10, len(records))]
	for _, l := range p.Labels {
		p.LabelRows, p.Most = append(p.LabelRows, labelRow{l, actedOn(p.Findings, l.Label)}), max(p.Most, l.Distinct)
	}
	p.turnTo(n)
	return p, true
}

// totalsOf is how many series a job holds beside its groups. It is known where all of
// these are listed.
func totalsOf(d *proxy.JobDetail) int {
	if len(d.GroupList) < d.Groups {
		return 0
	}
	n := d.Held
	for i := range d.GroupList {
		n -= d.GroupList[i].Series
	}
	return max(0, n)
}

// turnTo says which page of groups is shown.
func (p *jobPage) turnTo(n int) {
	p.First, p.Last = (n-1)*groupsShown+1, (n-1)*groupsShown+len(p.GroupList)
	if n > 1 {
		p.Prev = "job" + query("name", p.Job, "groups", strconv.Itoa(n-1)) + "#groups"
	}
	if p.Last < p.Groups && n < maxGroupPages {
		p.Next = "job" + query("name", p.Job, "groups", strconv.Itoa(n+1)) + "#groups"
	}
}

// actedOn are the findings about a label, each id once.
func actedOn(findings []noticed, label string) (out []noticed) {
	for _, f := range findings {
		if f.Label == label {
			out = append(out, f)
		}
	}
	return out
}

// noticed are the findings of records, newest first, each id and label once.
func (c *Console) noticed(job string, records []audit.Record) []noticed {
	type key struct{ id, label string }
	at := map[key]int{}
	var out []noticed
	for i := range records {
		r := &records[i]
		for _, f := range r.Findings {
			k := key{f.ID, f.Label}
			n, known := at[k]
			if !known {
				n = len(out)
				at[k] = n
				place := c.guard.PolicyPlace(job, f.ID)
				out = append(out, noticed{Finding: f, Time: r.Time, Outcome: r.Outcome, Would: r.Would, Place: c.place(place.File, place.Line)})
			}
			out[n].Pushes += max(1, r.Count)
		}
	}
	slices.SortStableFunc(out, func(a, b noticed) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Pushes, a.Pushes)) })
	return out[:min(findingsShown, len(out))]
}

// findingOf is findingText of a copy, as templates have it.
func findingOf(f finding.Finding) string { return findingText(&f) }

// findingText says what was noticed, without the fix.
func findingText(f *finding.Finding) string {
	bare := *f
	bare.Fix = ""
	return bare.String()
}
