package console_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
)

// TestReasonsInWords has each reason of the audit log on the first page, which takes none
// for another.
func TestReasonsInWords(t *testing.T) {
	log := audit.InMemory()
	w := newWorld(t, func(c *proxy.Config) { c.Audit = log })
	for _, r := range []audit.Record{
		{Method: "DELETE", Outcome: "removed", Reason: "stale", Governed: "old"},
		{Method: "POST", Outcome: "refused", Reason: "shed: memory", Governed: "a", Status: 503},
		{Method: "POST", Outcome: "refused", Reason: "shed: memory", Governed: "b", Status: 503},
		{Method: "POST", Outcome: "refused", Reason: "shed: waited", Governed: "c", Status: 503},
		{Method: "PUT", Outcome: "failed", Reason: "spooled", Governed: "late", UpstreamStatus: 400},
		{Method: "PUT", Outcome: "failed", Governed: "away", Status: 502},
		{Method: "PUT", Outcome: "failed", Governed: "answered", Status: 502, UpstreamStatus: 500},
	} {
		r.Job, r.Time = r.Governed, time.Now()
		log.Write(r)
	}
	page := w.eventually(t, "/guard/", "answered: PUT failed, answered 502, by the Pushgateway 500")
	for _, want := range []string{
		"old: a group was deleted, stale<", "pushes were answered 503, for the memory is full</a> <span class=\"of\">2 times",
		"pushes were answered 503, for more came than is worked on at once (waited)<",
		"late: a push that was kept for the Pushgateway was refused by it<", "away: PUT failed, answered 502<",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
	audited := w.get(t, 200, "/guard/audit")
	for _, want := range []string{">a group was deleted, stale<", ">answered 503, for the memory is full<", ">PUT failed, answered 502<"} {
		if !strings.Contains(audited, want) {
			t.Errorf("no %q in %s", want, audited)
		}
	}
}

// TestForecastsInWords has what enforcement would make of one push, and of several.
func TestForecastsInWords(t *testing.T) {
	log := audit.InMemory()
	w := newWorld(t, func(c *proxy.Config) { c.Audit = log })
	for _, f := range []audit.Forecast{{Pushes: 1, Refused: 1}, {Pushes: 2, Passed: 1, Changed: 1}} {
		log.Write(audit.Record{Time: time.Now(), Job: "tried", Governed: "tried", Mode: "report", Outcome: audit.OutcomeForecast, Forecast: &f})
	}
	page := w.get(t, 200, "/guard/audit")
	for _, want := range []string{">1 push: 0 would pass, 0 be changed, 1 be refused<", ">2 pushes: 1 would pass, 1 be changed, 0 be refused<"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in %s", want, page)
		}
	}
}
