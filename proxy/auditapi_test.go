package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/rules/finding"
)

func TestAuditAPI(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	log, err := audit.Start(path, audit.Rotation{}, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for i, r := range []audit.Record{
		{Job: "a", Owner: "x", Outcome: "changed", Client: "192.0.2.7:1", Findings: []finding.Finding{{ID: "ids"}}},
		{Job: "b", Owner: "y", Outcome: "refused", Client: "192.0.2.8:1"},
		{Job: "c", Owner: "x", Outcome: "passed", Would: "changed", Client: "192.0.2.7:2"},
	} {
		r.Time = now.Add(time.Duration(i-3) * time.Hour)
		log.Write(r)
	}
	g := &Guard{cfg: Config{Audit: log, Now: func() time.Time { return now }}, searching: make(chan struct{}, 1)}
	get := func(query string) (code int, jobs, next, fault string) {
		w := httptest.NewRecorder()
		g.serveAudit(w, httptest.NewRequest(http.MethodGet, "/guard/api/v1/audit?"+query, nil))
		var a struct {
			Error string
			Data  struct {
				Records []struct{ Job string }
				Next    string
			}
		}
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		for _, r := range a.Data.Records {
			jobs += r.Job
		}
		return w.Code, jobs, a.Data.Next, a.Error
	}
	for query, want := range map[string]string{
		"": "cba", "job=a|b": "ba", "owner=x": "ca", "finding=ids": "a", "outcome=changed": "ca", "client=192.0.2.7": "ca",
		"since=2h": "cb", "until=2h": "a", "since=2026-03-04T04:06:07Z": "c", "limit=2": "cb", "job=none": "",
	} {
		if code, jobs, _, _ := get(query); code != http.StatusOK || jobs != want {
			t.Errorf("%s: %d %q, want %q", query, code, jobs, want)
		}
	}
	_, jobs, next, _ := get("limit=2")
	if _, more, last, _ := get("limit=2&cursor=" + url.QueryEscape(next)); jobs+more != "cba" || last != "" {
		t.Errorf("pages %q and %q, then %q", jobs, more, last)
	}
	for _, query := range []string{"job=(", "since=yesterday", "until=x", "cursor=x"} {
		if code, _, _, fault := get(query); code != http.StatusBadRequest || fault == "" {
			t.Errorf("%s: %d %q", query, code, fault)
		}
	}
	g.cfg.Audit = audit.InMemory()
	g.cfg.Audit.Write(audit.Record{Time: now, Job: "m", Outcome: "changed"})
	if code, jobs, _, fault := get("outcome=changed"); code != http.StatusOK || jobs != "m" {
		t.Errorf("in memory: %d %q, %s", code, jobs, fault)
	}
	g.cfg.Audit = nil
	if code, _, _, fault := get(""); code != http.StatusNotFound || fault == "" {
		t.Errorf("without a log: %d %q", code, fault)
	}
}
