package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
)

// recordsShown is how many records a page has.
const recordsShown = 50

// auditPage is the data of the page of the audit log.
type auditPage struct {
	Now     time.Time
	Query   url.Values
	Records []audit.Record
	Older   string
	Kept    string // file or memory
	Skipped int
	from    string // where the page ends, as the feed's word for it
	live    bool
}

func (p *auditPage) stream() url.Values {
	if !p.live {
		return nil
	}
	q := url.Values{"of": {"audit"}, "from": {p.from}}
	for _, name := range filters {
		if v := p.Query.Get(name); v != "" {
			q.Set(name, v)
		}
	}
	return q
}

// Get is a parameter of the query, for the form.
func (p *auditPage) Get(name string) string { return p.Query.Get(name) }

// Filtered reports whether the page shows not all.
func (p *auditPage) Filtered() bool {
	return slices.ContainsFunc(filters, func(name string) bool { return p.Query.Get(name) != "" })
}

// filters are what a query of records may say.
var filters = []string{"job", "owner", "finding", "outcome", "client", "since", "until"}

func (c *Console) audit(r *http.Request) (any, error) {
	q := r.URL.Query()
	now := c.cfg.Now()
	p := &auditPage{Now: now, Query: q, from: c.feed.word(c.feed.end(), now)}
	page, err := c.guard.AuditPage(r.Context(), q, recordsShown)
	if err != nil {
		return nil, err
	}
	for _, line := range page.Records {
		var record audit.Record
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, err
		}
		p.Records = append(p.Records, record)
	}
	p.Kept, p.Skipped = page.Kept, page.Skipped
	p.live = q.Get("cursor") == "" && q.Get("until") == ""
	if page.Next != "" {
		older := url.Values{"cursor": {page.Next}}
		for _, name := range filters {
			if v := q.Get(name); v != "" {
				older.Set(name, v)
			}
		}
		p.Older = "audit?" + older.Encode()
	}
	return p, nil
}

// recordPage is one record in full.
type recordPage struct {
	Now time.Time
	audit.Record
	JSON   string
	Places map[string]string // the links to the lines behind the findings, by id
	Job    string
}

func (c *Console) record(r *http.Request) (any, error) {
	at, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("time"))
	if err != nil {
		return nil, &fault{http.StatusBadRequest, "the address names no record: want its time"}
	}
	q := url.Values{"since": {at.Format(time.RFC3339Nano)}, "until": {at.Add(1).Format(time.RFC3339Nano)}}
	if job := r.URL.Query().Get("job"); job != "" {
		q.Set("job", regexp.QuoteMeta(job))
	}
	page, err := c.guard.AuditPage(r.Context(), q, 1)
	switch {
	case err != nil:
		return nil, err
	case len(page.Records) == 0:
		return nil, &fault{http.StatusNotFound, "this record is not kept any more"}
	}
	return c.recordPage(page.Records[0])
}

func (c *Console) recordPage(line []byte) (*recordPage, error) {
	var r audit.Record
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, err
	}
	p := &recordPage{Now: c.cfg.Now(), Record: r, Job: jobOf(&r), Places: map[string]string{}}
	for _, f := range r.Findings {
		place := c.guard.PolicyPlace(p.Job, f.ID)
		p.Places[f.ID] = c.place(place.File, place.Line)
	}
	var b bytes.Buffer
	err := json.Indent(&b, line, "", "  ")
	p.JSON = b.String()
	return p, err
}

// recordLink leads to a record.
func recordLink(r *audit.Record) string { return "record" + query("time", stamp(r.Time), "job", r.Job) }

// answeredOf is answered of a copy.
func answeredOf(r audit.Record) string { return answered(&r) }

// recordLinkOf is recordLink of a copy, as templates have it.
func recordLinkOf(r audit.Record) string { return recordLink(&r) }
