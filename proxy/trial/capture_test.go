package trial_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/trial"
)

func TestParseCapture(t *testing.T) {
	r, err := trial.ParseCapture([]byte(`{"name": "x", "request": {
		"method": "POST", "target": "/metrics/job/a%2Fb?token=1",
		"headers": [["content-type", "text/plain"], ["X-A", "1"], ["x-a", "2"]],
		"body_base64": "dXAgMQo="}}`))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Method != http.MethodPost || r.Path != "/metrics/job/a%2Fb" || string(body) != "up 1\n" || r.Length != 5 {
		t.Errorf("%s %s, %d bytes: %q", r.Method, r.Path, r.Length, body)
	}
	if diff := cmp.Diff(http.Header{"Content-Type": {"text/plain"}, "X-A": {"1", "2"}}, r.Header); diff != "" {
		t.Error(diff)
	}
}

func TestParseCaptureRefuses(t *testing.T) {
	for _, tc := range []struct{ name, capture, want string }{
		{"no JSON", `PUT /metrics`, "not a capture: "},
		{"no request", `{}`, `request.method ""`},
		{"a read", `{"request": {"method": "GET", "target": "/metrics"}}`, `request.method "GET"`},
		{"no target", `{"request": {"method": "PUT"}}`, "request.target: "},
		{"a target that no server takes", `{"request": {"method": "PUT", "target": "/a%%2"}}`, "request.target: "},
		{"a body that is no base64", `{"request": {"method": "PUT", "target": "/", "body_base64": "?"}}`, "not a capture: "},
	} {
		_, err := trial.ParseCapture([]byte(tc.capture))
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: error %v, want one with %q", tc.name, err, tc.want)
		}
	}
}

func FuzzParseCapture(f *testing.F) {
	f.Add([]byte(`{"request": {"method": "PUT", "target": "/metrics/job/a?b", "headers": [["A", "b"]], "body_base64": "dXAgMQo="}}`))
	f.Add([]byte(`{"request": {"method": "DELETE", "target": "http://h/metrics/job@base64/="}}`))
	f.Add([]byte(`{"request": null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := trial.ParseCapture(data)
		if err != nil {
			return
		}
		if body, err := io.ReadAll(r.Body); err != nil || int64(len(body)) != r.Length {
			t.Errorf("%d bytes of %d: %v", len(body), r.Length, err)
		}
	})
}
