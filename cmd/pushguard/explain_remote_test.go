package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/store"
	"github.com/pushguard/pushguard/proxy/story"
)

// explaining is a guard with a store of its own that answers over HTTP.
func explaining(t *testing.T) *httptest.Server {
	t.Helper()
	p, err := policy.Load(explainData + "policy.yml")
	if err != nil {
		t.Fatal(err)
	}
	own, err := store.Open(store.Config{})
	if err != nil {
		t.Fatal(err)
	}
	guard, err := proxy.New(proxy.Config{
		Policy: p, Upstream: own, Metrics: proxy.NewMetrics(prometheus.NewRegistry()), Restored: true,
		Caps:  proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 50, LabelValue: 1000},
		Story: story.Teller{}.Tell,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(guard.Handler())
	t.Cleanup(s.Close)
	return s
}

// TestExplainOnAGuard: what the guard holds is told, in the words in which it tells by
// itself, and changed by nothing.
func TestExplainOnAGuard(t *testing.T) {
	s := explaining(t)
	body := "# TYPE rows gauge\nrows{table=\"a\"} 1\n"
	push := func(path string) {
		t.Helper()
		r, err := http.Post(s.URL+path, "", strings.NewReader(body))
		if err != nil || r.StatusCode != http.StatusOK {
			t.Fatalf("%v %v", r, err)
		}
		r.Body.Close()
	}
	push("/metrics/job/load/instance/b")
	ask := func(args ...string) (int, string, string) {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"explain", "--url=" + s.URL}, args...), strings.NewReader(body), &out, &errs)
		return code, out.String(), errs.String()
	}
	code, text, stderr := ask("--job=load", "--grouping=instance=a")
	if code != exitOK || stderr != "" || !strings.Contains(text, "6 series held") || !strings.Contains(text, ", 3 before") {
		t.Errorf("%d %s %s", code, text, stderr)
	}
	if _, again, _ := ask("--job=load", "--grouping=instance=a"); again != text {
		t.Errorf("asked again it says %s", again)
	}
	query := url.Values{"path": {"/metrics/job/load/instance/a"}, "output": {"text"}}
	r, err := http.Post(s.URL+"/guard/api/v1/explain?"+query.Encode(), "", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if itself, _ := io.ReadAll(r.Body); string(itself) != text {
		t.Errorf("the guard tells\n%s\nthe command\n%s", itself, text)
	}
	if code, text, _ := ask("--job=strict", "--grouping=user=x@example.com", "--output=json"); !strings.Contains(text, `"answer"`) {
		t.Errorf("%d %s", code, text)
	}
}

func TestExplainOnNoGuard(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	for _, tc := range []struct {
		code int
		args []string
		want string
	}{
		{exitFailure, []string{"--url=" + s.URL, "--job=a"}, "status 404: 404 page not found; want a guard, with its route prefix if it has one, at its --admin.listen-address if that is set\n"},
		{exitFailure, []string{"--url=http://127.0.0.1:1", "--job=a"}, "connection refused"},
		{exitUsage, []string{"--url=nowhere", "--job=a"}, "--url=\"nowhere\": want an absolute URL"},
		{exitUsage, []string{"--url=" + s.URL, "--policy.file=x", "--job=a"}, "leave out --policy.file"},
		{exitUsage, []string{"--as=data", "--policy.file=x", "--job=a"}, "--as is for --url"},
		{exitUsage, []string{"--url=" + s.URL, "--job=a", "--config.file=/no/such"}, "--config.file: "},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append([]string{"explain"}, tc.args...), strings.NewReader("a 1\n"), &out, &errs)
		if code != tc.code || !strings.Contains(errs.String(), tc.want) {
			t.Errorf("%v: %d %s, want %d %s", tc.args, code, errs.String(), tc.code, tc.want)
		}
	}
}

// TestExplainIsNotRedirected: neither the push nor the password goes to where an answer
// points to, which is told.
func TestExplainIsNotRedirected(t *testing.T) {
	for _, status := range []int{http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect} {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			t.Errorf("%d: %s %s with %q is asked elsewhere", status, r.Method, r.URL, r.Header.Get("Authorization"))
		}))
		defer elsewhere.Close()
		s := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/there", status))
		defer s.Close()
		t.Setenv("PUSHGUARD_PASSWORD", "word")
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"explain", "--url=" + s.URL, "--user=reader", "--job=load"}, strings.NewReader("rows 1\n"), &out, &errs)
		if code != exitFailure || !strings.Contains(errs.String(), fmt.Sprintf("redirects: status %d to %q", status, elsewhere.URL+"/there")) {
			t.Errorf("%d %s", code, errs.String())
		}
	}
}
