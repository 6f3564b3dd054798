package console

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

// jobsShown is how many jobs a page has.
const jobsShown = 100

// otherJobs stands for the jobs that the guard's metrics do not name: no entry governs
// all of them.
const otherJobs = "__other__"

// row is a job of the table.
type row struct {
	proxy.JobView
	Refused  int  // within the last hour
	Nameless bool // what was refused is counted without the job's name
	// Overlooked is whether what enforcement would do may be counted without it, too.
	Overlooked bool
}

// row is a job of which so many pushes were refused.
func (c counts) row(j proxy.JobView, refused int) row {
	return row{j, refused, c.nameless(j.Job), c.overlooks}
}

// Would says what enforcement would do to a job in report.
func (r row) Would() string {
	f := r.Forecast
	switch {
	case r.Mode != "report":
		return ""
	case f == nil && r.Overlooked:
		return "not counted by name"
	case f == nil:
		return "nothing came yet"
	case f.Safe:
		return "nothing"
	case f.Refused > 0 && f.Changed > 0:
		return "refuse " + number(f.Refused) + ", change " + number(f.Changed) + " of " + number(f.Pushes)
	case f.Refused > 0:
		return "refuse " + number(f.Refused) + " of " + number(f.Pushes)
	default:
		return "change " + number(f.Changed) + " of " + number(f.Pushes)
	}
}

// heading is a column of the table.
type heading struct {
	Key, Name, Link, Sort string // Sort is what aria-sort says; empty for none
	Number                bool
	Right                 bool // its cells stand right
}

// jobsPage is the data of the page of jobs.
type jobsPage struct {
	Now        time.Time
	Query      url.Values
	Headings   []heading
	Rows       []*row
	Found      int
	First      int // of those shown, from 1
	Last       int
	Prev, Next string
	Owners     []string
	All        int // jobs that hold something
	Known      int // those the page knows of
	Held       proxy.JobsView
}

func (p *jobsPage) stream() url.Values {
	q := url.Values{"of": {"jobs"}}
	for name, values := range p.Query {
		q[name] = values
	}
	return q
}

// Get is a parameter of the query, for the form.
func (p *jobsPage) Get(name string) string { return p.Query.Get(name) }

// order is how jobs are sorted by a column; names and times that are unknown go last.
var order = map[string]func(a, b *row) int{
	"job":     func(a, b *row) int { return strings.Compare(a.Job, b.Job) },
	"owner":   func(a, b *row) int { return strings.Compare(a.Owner, b.Owner) },
	"mode":    func(a, b *row) int { return strings.Compare(a.Mode, b.Mode) },
	"held":    func(a, b *row) int { return cmp.Compare(a.Held, b.Held) },
	"used":    func(a, b *row) int { return cmp.Compare(used(&a.JobView), used(&b.JobView)) },
	"hour":    func(a, b *row) int { return cmp.Compare(a.NewThisHour, b.NewThisHour) },
	"day":     func(a, b *row) int { return cmp.Compare(a.NewThisDay, b.NewThisDay) },
	"refused": func(a, b *row) int { return cmp.Compare(a.Refused, b.Refused) },
	"last":    func(a, b *row) int { return moment(a.LastPush).Compare(moment(b.LastPush)) },
	"would":   func(a, b *row) int { return slices.Compare(a.wouldHurt(), b.wouldHurt()) },
}

// used is the part of its series that a job holds, which may be more than all of them; 0
// where nothing limits them.
func used(j *proxy.JobView) float64 {
	if j.Granted <= 0 {
		return 0
	}
	return float64(j.Held) / float64(j.Granted)
}

// wouldHurt is how many pushes enforcement would refuse, and how many change; nothing
// where that is not known.
func (r *row) wouldHurt() []int {
	if r.Forecast == nil {
		return nil
	}
	return []int{r.Forecast.Refused, r.Forecast.Changed}
}

// headings are the columns, in order.
var headings = []heading{
	{Key: "job", Name: "Job"},
	{Key: "owner", Name: "Owner"},
	{Key: "mode", Name: "Mode"},
	{Key: "held", Name: "Series held", Number: true},
	{Key: "used", Name: "Of granted", Number: true, Right: true},
	{Key: "hour", Name: "New, hour", Number: true, Right: true},
	{Key: "day", Name: "New, day", Number: true, Right: true},
	{Key: "refused", Name: "Refused, hour", Number: true, Right: true},
	{Key: "last", Name: "Last push", Number: true, Right: true},
	{Key: "would", Name: "Enforcing would"},
}

// asked is what a query of jobs may say.
var asked = []string{"q", "owner", "mode", "sort", "dir", "page"}

func (c *Console) jobs(r *http.Request) (any, error) {
	return c.jobsPage(c.snapshot(), r.URL.Query()), nil
}

func (c *Console) jobsPage(s *snapshot, all url.Values) *jobsPage {
	p := &jobsPage{
		Now: s.at, Query: url.Values{}, Held: s.jobs, Known: len(s.jobs.Jobs),
		All: max(len(s.jobs.Jobs), int(s.counts.sum("pushguard_jobs", nil))),
	}
	for _, name := range asked {
		if v := all.Get(name); v != "" {
			p.Query.Set(name, v)
		}
	}
	s.listing.Do(func() {
		s.rows = c.rows(s)
		s.owners = owners(s.rows)
	})
	p.Owners = s.owners
	rows := p.among(s.rows)
	p.sort(rows)
	p.turnTo(rows)
	return p
}

// rows are all jobs that hold something, and those of which all was refused.
func (c *Console) rows(s *snapshot) []row {
	refusals := c.history.refusals(s)
	rows := make([]row, 0, len(s.jobs.Jobs))
	for _, j := range s.jobs.Jobs {
		rows = append(rows, s.counts.row(j, refusals[j.Job]))
		delete(refusals, j.Job)
	}
	for name, n := range refusals {
		if n == 0 || name == "" {
			continue
		}
		j := proxy.JobView{Job: name}
		if name != otherJobs {
			known, _ := c.guard.Job(name, 0, 0)
			j = known.JobView
		}
		rows = append(rows, s.counts.row(j, n))
	}
	return rows
}

func owners(rows []row) []string {
	var out []string
	for _, r := range rows {
		if r.Owner != "" {
			out = append(out, r.Owner)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// among are the jobs that are looked for.
func (p *jobsPage) among(rows []row) []*row {
	words := strings.Fields(strings.ToLower(p.Get("q")))
	owner, mode := p.Get("owner"), p.Get("mode")
	out := make([]*row, 0, len(rows))
	for i := range rows {
		r := &rows[i]
		if (owner == "" || owner == r.Owner) && (mode == "" || mode == r.Mode) && r.has(words) {
			out = append(out, r)
		}
	}
	return out
}

// has reports whether every word is in the job's name, its owner or the name of its
// entry.
func (r *row) has(words []string) bool {
	if len(words) == 0 {
		return true
	}
	text := strings.ToLower(r.Job + "\n" + r.Owner + "\n" + r.Entry)
	return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
}

// sort sorts by the column that the query names, and says so in the headings.
func (p *jobsPage) sort(rows []*row) {
	key, down := p.Get("sort"), p.Get("dir") != "up"
	by := order[key]
	if by == nil {
		key, by, down = "held", order["held"], true
	}
	slices.SortFunc(rows, func(a, b *row) int {
		n := by(a, b)
		if down {
			n = -n
		}
		return cmp.Or(n, strings.Compare(a.Job, b.Job))
	})
	for _, h := range headings {
		first := "down" // the way of the first click
		if !h.Number && h.Key != "would" {
			first = "up"
		}
		if h.Key == key {
			h.Sort, first = "ascending", "down"
			if down {
				h.Sort, first = "descending", "up"
			}
		}
		h.Link = p.with("sort", h.Key, "dir", first, "page", "")
		p.Headings = append(p.Headings, h)
	}
}

// with is the query with some parameters changed.
func (p *jobsPage) with(pairs ...string) string {
	q := url.Values{}
	for name, values := range p.Query {
		q[name] = values
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Del(pairs[i])
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return "jobs?" + q.Encode()
}

// turnTo shows the page that the query names, or the last.
func (p *jobsPage) turnTo(rows []*row) {
	p.Found = len(rows)
	last := max(1, (len(rows)+jobsShown-1)/jobsShown)
	n, _ := strconv.Atoi(p.Get("page"))
	n = max(1, min(n, last))
	from := (n - 1) * jobsShown
	p.Rows = rows[from:min(from+jobsShown, len(rows))]
	p.First, p.Last = min(from+1, len(rows)), from+len(p.Rows)
	if n > 1 {
		p.Prev = p.with("page", strconv.Itoa(n-1))
	}
	if n < last {
		p.Next = p.with("page", strconv.Itoa(n+1))
	}
}
