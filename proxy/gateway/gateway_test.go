package gateway

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

func key(pairs ...string) wire.Key {
	var ls []labels.Label
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return wire.NewKey(ls...)
}

// nastyKeys holds every kind of byte that a path may stumble over.
func nastyKeys() []wire.Key {
	var keys []wire.Key
	for _, v := range []string{
		"plain", "50%", "100%25", "a?b", "a#b", "a b", "a+b", "a;b=c&d", "ü漢😀", `"quoted"`, "line\nbreak", "\t\r\x00\x7f",
		".", "..", "...", "", "a/b", "/", "//", "../../x", "a\\b", "{}|^`<>[]", "@base64", "~!$'()*,:", "*",
	} {
		keys = append(keys, key("job", "values", "id", v), key("job", "job "+v))
	}
	return append(keys, key("job", "many", "a", "1", "b", "", "c", "x/y", "instance", "10.0.0.1:9100"))
}

func parse(t testing.TB, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func open(t testing.TB, cfg Config) *Upstream {
	t.Helper()
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(u.Close)
	return u
}

// serve returns an upstream that is answered by h.
func serve(t testing.TB, h http.HandlerFunc) *Upstream {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return open(t, Config{URL: parse(t, s.URL), Timeout: 10 * time.Second, UserAgent: "pushguard/test"})
}

func TestNewRefuses(t *testing.T) {
	for name, raw := range map[string]string{
		"no scheme":   "gateway:9091",
		"ftp":         "ftp://gateway/",
		"no host":     "http:///metrics",
		"credentials": "http://user:secret@gateway:9091/",
		"a query":     "http://gateway:9091/?a=b",
		"a fragment":  "http://gateway:9091/#top",
	} {
		u, err := New(Config{URL: parse(t, raw)})
		if err == nil {
			t.Errorf("%s: %q was accepted: %+v", name, raw, u)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no URL was accepted")
	}
}

func TestObserve(t *testing.T) {
	type seen struct {
		method string
		status int
	}
	got := make(chan seen, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	u := open(t, Config{URL: parse(t, s.URL), Observe: func(m string, status int, d time.Duration) {
		if d <= 0 {
			t.Errorf("%s took %v", m, d)
		}
		got <- seen{m, status}
	}})
	want := func(w seen) {
		t.Helper()
		if g := <-got; g != w {
			t.Errorf("observed %+v, want %+v", g, w)
		}
	}
	_, _ = u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
	want(seen{"PUT", http.StatusTeapot})
	u.Proxy().ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("FROBNICATE", "/", nil))
	want(seen{"other", http.StatusTeapot})
	_, _ = u.Groups(t.Context(), 1)
	want(seen{"GET", http.StatusTeapot})
	s.Close()
	_, _ = u.Do(t.Context(), Request{Method: http.MethodDelete, Key: key("job", "j")})
	want(seen{"DELETE", 0})
}
