package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/audit"
)

// serveAudit answers /audit: records of the audit log, newest first, without a file
// those that are in memory.
func (g *Guard) serveAudit(w http.ResponseWriter, r *http.Request) {
	page, err := g.AuditPage(r.Context(), r.URL.Query(), limit(r))
	switch {
	case errors.Is(err, ErrNoAudit):
		apiFault(w, http.StatusNotFound, err.Error())
	case errors.As(err, new(*QueryError)):
		apiFault(w, http.StatusBadRequest, err.Error())
	case err != nil:
		apiFault(w, http.StatusInternalServerError, "the audit log cannot be read")
	default:
		writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: page})
	}
}

// ErrNoAudit says that there is no audit log.
var ErrNoAudit = errors.New("there is no audit log")

// QueryError is what is wrong with the parameters of a query.
type QueryError struct{ err error }

// Error says what is wrong, and what is wanted.
func (e *QueryError) Error() string { return e.err.Error() }

// AuditPage returns up to n records of the audit log that match the parameters of
// /guard/api/v1/audit, newest first. One search runs at a time, since it may have to
// read all files. The error is ErrNoAudit, a *QueryError, or why nothing can be read.
func (g *Guard) AuditPage(ctx context.Context, q url.Values, n int) (audit.Page, error) {
	if g.cfg.Audit == nil {
		return audit.Page{}, ErrNoAudit
	}
	filter, err := g.AuditFilter(q)
	if err != nil {
		return audit.Page{}, err
	}
	select {
	case g.searching <- struct{}{}:
		defer func() { <-g.searching }()
	case <-ctx.Done():
		return audit.Page{}, ctx.Err()
	}
	page, err := g.cfg.Audit.Page(ctx, filter, q.Get("cursor"), min(n, auditMost))
	switch {
	case errors.Is(err, audit.ErrCursor):
		return audit.Page{}, &QueryError{err}
	case err != nil:
		g.logger.Error("The audit log cannot be read", "err", err)
	}
	return page, err
}

// AuditFilter reads the parameters that the flags of pushguard audit are named as. The
// error is a *QueryError.
func (g *Guard) AuditFilter(q url.Values) (*audit.Filter, error) {
	f, err := auditFilter(q, g.cfg.Now())
	if err != nil {
		return nil, &QueryError{err}
	}
	return f, nil
}

// FollowAudit begins to follow the audit log, with up to n of the records before.
// The error is ErrNoAudit or audit.ErrSubscribers.
func (g *Guard) FollowAudit(n int) (*audit.Subscription, error) {
	if g.cfg.Audit == nil {
		return nil, ErrNoAudit
	}
	return g.cfg.Audit.Subscribe(n)
}

// auditMost is the most records that a page of the audit log has.
const auditMost = 1000

func apiFault(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, apiAnswer{Status: "error", Error: text})
}

func auditFilter(q url.Values, now time.Time) (*audit.Filter, error) {
	f := &audit.Filter{Owner: q.Get("owner"), Finding: q.Get("finding"), Outcome: q.Get("outcome"), Client: q.Get("client")}
	var err error
	if job := q.Get("job"); job != "" {
		if f.Job, err = regexp.Compile("^(?s:" + job + ")$"); err != nil {
			return nil, fmt.Errorf("job: want a regular expression such as nightly_.*: %w", err)
		}
	}
	if f.Since, err = moment(q, "since", now); err != nil {
		return nil, err
	}
	f.Until, err = moment(q, "until", now)
	return f, err
}

// moment is a time, or how long ago it was; the zero one if there is none.
func moment(q url.Values, name string, now time.Time) (time.Time, error) {
	s := q.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	d, err := model.ParseDuration(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: %.50q: want a time such as 2026-03-04T05:06:07Z, or how long ago, such as 1h or 7d", name, s)
	}
	return now.Add(-time.Duration(d)), nil
}
