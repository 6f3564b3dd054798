package gateway

import (
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

func TestUTF8Names(t *testing.T) {
	for _, c := range []struct {
		body string
		want bool
		bad  bool
	}{
		{`{"status":"success","data":{"flags":{"push.enable-utf8-names":"true"}}}`, true, false},
		{`{"status":"success","data":{"flags":{"push.enable-utf8-names":"false"}}}`, false, false},
		{`{"status":"success","data":{"flags":{}}}`, false, false},
		{`{}`, false, false},
		{`<html>`, false, true},
	} {
		u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.RequestURI != "/api/v1/status" || r.UserAgent() != "pushguard/test" {
				t.Errorf("asked %s as %q", r.RequestURI, r.UserAgent())
			}
			_, _ = io.WriteString(w, c.body)
		})
		if got, err := u.UTF8Names(t.Context()); got != c.want || (err != nil) != c.bad {
			t.Errorf("%s: %v, %v", c.body, got, err)
		}
	}
}

func TestStarted(t *testing.T) {
	for _, c := range []struct {
		body string
		want string
	}{
		{`{"status":"success","data":{"start_time":"2026-11-22T21:47:57.851884229Z"}}`, "2026-11-22T21:47:57.851884229Z"},
		{`{"status":"success","data":{"start_time":"2026-11-22T22:47:57+01:00"}}`, "2026-11-22T21:47:57Z"},
		{`{"status":"success","data":{"start_time":"yesterday"}}`, ""},
		{`{"status":"success","data":{"start_time":5}}`, ""},
		{`{"status":"success","data":{}}`, ""},
		{`{}`, ""},
		{`<html>`, ""},
	} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.body) })
		got, err := u.Started(t.Context())
		if (err == nil) != (c.want != "") || err == nil && got.UTC().Format(time.RFC3339Nano) != c.want {
			t.Errorf("%s: %v, %v, want %q", c.body, got, err, c.want)
		}
	}
}

func TestGuarded(t *testing.T) {
	for _, c := range []struct {
		status int
		server string
		want   bool
	}{
		{http.StatusOK, "pushguard/1.2.3", true},
		{http.StatusServiceUnavailable, "pushguard/1.2.3", true},
		{http.StatusOK, "pushguard", true},
		{http.StatusOK, "nginx/1.2.3", false},
		{http.StatusOK, "pushguardian/1", false},
		{http.StatusOK, "", false},
	} {
		u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.RequestURI != "/-/ready" {
				t.Errorf("asked %s", r.RequestURI)
			}
			w.Header().Set("Server", c.server)
			w.WriteHeader(c.status)
		})
		if got, err := u.Guarded(t.Context()); got != c.want || err != nil {
			t.Errorf("%d from %q: %v, %v", c.status, c.server, got, err)
		}
	}
	nobody := open(t, Config{URL: parse(t, "http://"+closedPort(t))})
	if _, err := nobody.Guarded(t.Context()); err == nil {
		t.Error("it is known of an upstream that does not answer")
	}
}

func TestStatusNotFound(t *testing.T) {
	u := serve(t, http.NotFound)
	if _, err := u.UTF8Names(t.Context()); err == nil {
		t.Error("a 404 tells of names")
	}
	if _, err := u.Started(t.Context()); err == nil {
		t.Error("a 404 tells a start")
	}
}

func TestStatusOfARealPushgateway(t *testing.T) {
	before := time.Now()
	u := open(t, Config{URL: gatewaytest.Start(t, "--web.route-prefix=/pgw")})
	if on, err := u.UTF8Names(t.Context()); err != nil || on {
		t.Errorf("UTF8Names = %v, %v", on, err)
	}
	if guarded, err := u.Guarded(t.Context()); err != nil || guarded {
		t.Errorf("Guarded = %v, %v", guarded, err)
	}
	first, err := u.Started(t.Context())
	if err != nil || first.Before(before) || first.After(time.Now()) {
		t.Errorf("Started = %v, %v, which is not since %v", first, err, before)
	}
	if again, err := u.Started(t.Context()); err != nil || !again.Equal(first) {
		t.Errorf("Started = %v, %v, and before %v", again, err, first)
	}
	other := open(t, Config{URL: gatewaytest.Start(t)})
	if second, err := other.Started(t.Context()); err != nil || second.Equal(first) {
		t.Errorf("another Pushgateway started at %v, too, %v", second, err)
	}
}

func TestUnchecked(t *testing.T) {
	for flag, want := range map[string]bool{"--push.disable-consistency-check": true, "--no-push.disable-consistency-check": false} {
		u := open(t, Config{URL: gatewaytest.Start(t, flag)})
		if got, known, err := u.Unchecked(t.Context()); got != want || !known || err != nil {
			t.Errorf("%s: %v %v %v", flag, got, known, err)
		}
	}
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"data":{"flags":{}}}`) })
	if _, known, err := u.Unchecked(t.Context()); known || err != nil {
		t.Errorf("one that does not tell: %v %v", known, err)
	}
}
