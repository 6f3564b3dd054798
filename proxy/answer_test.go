package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// TestStatusOfErrors is every error a push can end in, and what its client gets.
func TestStatusOfErrors(t *testing.T) {
	key := func(path string) wire.Key {
		k, err := wire.ParsePath(path, false)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	wrapped := func(err error) error { return fmt.Errorf("on the way: %w", err) }
	for _, tc := range []struct {
		name    string
		err     error
		status  int
		outcome Outcome
		says    string
	}{
		{"the policy", errPolicy, 422, Refused, "ids: "},
		{"a body that is none", &wire.Error{Reason: "text format parsing error in line 1", Fix: "mend it"}, 400, Refused, "text format parsing error in line 1\nmend it\n"},
		{"no group", wire.ErrNotGroup, 404, Refused, "404 page not found\n"},
		{"over a hard cap", &wire.LimitError{What: "samples", Limit: 7}, 413, Refused, "limit: 7"},
		{"too large", &wire.TooLargeError{What: "body", Limit: 9}, 413, Refused, "limit: 9 bytes"},
		{"a twin", &ledger.TwinError{Group: key("/metrics/job/a/b/"), Twin: key("/metrics/job/a")}, 400, Refused, "equals the existing group"},
		{"the group is busy", ledger.ErrBusy, 503, Failed, "busy"},
		{"no answer in time", gateway.ErrTimeout, 504, Failed, "timed out"},
		{"nobody there", gateway.ErrUnreachable, 502, Failed, "unreachable"},
		{"broken off", gateway.ErrBroken, 502, Failed, "broke off"},
		{"a redirect", gateway.ErrRedirect, 502, Failed, "redirects"},
		{"no listing", errUpstream, 502, Failed, "does not answer"},
		{"no listing in time", errNoListing, 503, Failed, "which groups it holds"},
		{"a client that waited no longer", context.Canceled, 503, Failed, ""},
		{"a body cut short", bodyError{io.ErrUnexpectedEOF}, 400, Refused, "read body: unexpected EOF\n"},
		{"a body that cannot be read", bodyError{errors.New("connection reset")}, 400, Refused, "read body: "},
		{"what has no name", errors.New("the disk is full"), 502, Failed, "the disk is full"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, err := range []error{tc.err, wrapped(tc.err)} {
				v := &passage{entry: &policy.Entry{Mode: policy.Enforce}}
				if errors.Is(err, errPolicy) {
					v.refusals.Add(finding.Finding{ID: "ids", Count: 1})
				}
				a := testGuard(t).refusal(v, err)
				if a.Status != tc.status || a.outcome != tc.outcome || !strings.Contains(string(a.Body), tc.says) {
					t.Errorf("%v: %d %v %q", err, a.Status, a.outcome, a.Body)
				}
				if got := a.Header.Get("Retry-After") != ""; got != (tc.status == http.StatusServiceUnavailable) {
					t.Errorf("%v: Retry-After %v", err, got)
				}
				if ct := a.Header.Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") || a.Header.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%v: header %v", err, a.Header)
				}
			}
		})
	}
}

func TestOutcomesHaveWords(t *testing.T) {
	seen := map[string]bool{}
	for o := Passed; o <= Failed; o++ {
		if w := o.String(); w == "unknown" || seen[w] {
			t.Errorf("outcome %d is %q", o, w)
		}
		seen[o.String()] = true
	}
	if Outcome(0).String() != "unknown" {
		t.Errorf("the zero outcome is %q", Outcome(0))
	}
}

// TestSettlement is what the ledger is told of an answer.
func TestSettlement(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   ledger.Outcome
	}{
		{"applied", 200, "", ledger.Applied},
		{"queued", 202, "", ledger.Applied},
		{"read and refused", 400, "pushed metrics are invalid or inconsistent with existing metrics: x", ledger.Refused},
		{"not even read", 400, "text format parsing error in line 1", ledger.Untouched},
		{"not let in", 401, "Unauthorized", ledger.Untouched},
		{"a proxy's own", 502, "", ledger.Unknown},
		{"a Pushgateway's own fault", 500, "", ledger.Unknown},
		{"informational", 100, "", ledger.Unknown},
	} {
		if got := settlement(gateway.Answer{Status: tc.status, Body: []byte(tc.body)}, nil); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for err, want := range map[error]ledger.Outcome{
		gateway.ErrUnreachable: ledger.Untouched, gateway.ErrRedirect: ledger.Untouched,
		gateway.ErrTimeout: ledger.Unknown, gateway.ErrBroken: ledger.Unknown,
	} {
		if got := settlement(gateway.Answer{}, fmt.Errorf("push: %w", err)); got != want {
			t.Errorf("%v: %v, want %v", err, got, want)
		}
	}
}

func TestWantsProblem(t *testing.T) {
	for accept, want := range map[string]bool{
		"":                                     false,
		"*/*":                                  false,
		"text/plain":                           false,
		"application/json":                     false,
		"application/problem+json":             true,
		"text/plain, application/problem+json": true,
		"Application/Problem+JSON; charset=utf-8": true,
		"application/problem+json;=":              false,
	} {
		h := http.Header{"Accept": {accept}}
		if got := wantsProblem(h); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}

// testGuard is a guard that sends nothing anywhere.
func testGuard(t *testing.T) *Guard {
	t.Helper()
	return &Guard{cfg: Config{Metrics: NewMetrics(prometheus.NewRegistry())}, logger: slog.New(slog.DiscardHandler)}
}

// TestDate has the date of an answer stand once, whoever says it.
func TestDate(t *testing.T) {
	now := time.Now()
	for name, date := range map[string]string{"now": dateOf(now), "another": dateOf(now.Add(-time.Hour))} {
		for _, more := range []http.Header{{}, {"X-Content-Type-Options": {"nosniff"}}} {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				h := more.Clone()
				h["Date"] = []string{date}
				_ = respond(w, Answer{Status: http.StatusOK, Header: h})
			}))
			resp, err := http.Get(s.URL)
			s.Close()
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			said, err := http.ParseTime(resp.Header.Get("Date"))
			want, _ := http.ParseTime(date)
			if len(resp.Header["Date"]) != 1 || err != nil || said.Before(want) || name == "another" && !said.Equal(want) {
				t.Errorf("%s: %v, want %s", name, resp.Header, date)
			}
			for field := range more {
				if resp.Header.Get(field) != more.Get(field) {
					t.Errorf("%s: %v lacks %s", name, resp.Header, field)
				}
			}
		}
	}
}

// TestIsDate has a header that is the date alone be told from all others.
func TestIsDate(t *testing.T) {
	now := time.Date(2026, 11, 29, 1, 2, 3, 999999999, time.FixedZone("", 3600))
	const said = "Sun, 29 Nov 2026 00:02:03 GMT"
	for _, tc := range []struct {
		header http.Header
		want   bool
	}{
		{http.Header{"Date": {said}}, true},
		{http.Header{"Date": {said, said}}, false},
		{http.Header{"Date": {said}, "X": {"y"}}, false},
		{http.Header{"Date": {"Sun, 29 Nov 2026 00:02:04 GMT"}}, false},
		{http.Header{"Date": {}}, false},
		{nil, false},
	} {
		if got := isDate(tc.header, now); got != tc.want {
			t.Errorf("%v: %t", tc.header, got)
		}
	}
	if isDate(http.Header{"Date": {said}}, now.Add(time.Nanosecond)) {
		t.Error("it is the date of the second before, too")
	}
}
