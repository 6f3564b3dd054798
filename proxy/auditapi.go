package proxy

import (
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
// those that are in memory. One search runs at a time, since it may have to read all
// files.
func (g *Guard) serveAudit(w http.ResponseWriter, r *http.Request) {
	if g.cfg.Audit == nil {
		apiFault(w, http.StatusNotFound, "there is no audit log")
		return
	}
	filter, err := auditFilter(r.URL.Query(), g.cfg.Now())
	if err != nil {
		apiFault(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case g.searching <- struct{}{}:
		defer func() { <-g.searching }()
	case <-r.Context().Done():
		return
	}
	page, err := g.cfg.Audit.Page(r.Context(), filter, r.URL.Query().Get("cursor"), min(limit(r), auditMost))
	switch {
	case errors.Is(err, audit.ErrCursor):
		apiFault(w, http.StatusBadRequest, err.Error())
	case err != nil:
		apiFault(w, http.StatusInternalServerError, "the audit log cannot be read")
		g.logger.Error("The audit log cannot be read", "err", err)
	default:
		writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: page})
	}
}

// auditMost is the most records that a page of the audit log has.
const auditMost = 1000

func apiFault(w http.ResponseWriter, status int, text string) {
	writeJSON(w, status, apiAnswer{Status: "error", Error: text})
}

// auditFilter reads the parameters that the flags of pushguard audit are named as.
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
