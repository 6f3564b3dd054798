package wire

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

func TestParsePath(t *testing.T) {
	for _, c := range []struct {
		name, path string
		want       Key
	}{
		{"a job alone", "/metrics/job/foo", key("job", "foo")},
		{"a trailing slash", "/metrics/job/foo/", key("job", "foo")},
		{"an escaped trailing slash", "/metrics/job/foo%2F", key("job", "foo")},
		{"labels in any order", "/metrics/job/foo/b/2/a/1", key("job", "foo", "a", "1", "b", "2")},
		{"a last value that is empty", "/metrics/job/foo/instance/", key("job", "foo", "instance", "")},
		{"an escaped slash separates", "/metrics/job/etl%2Fnightly/instance", key("job", "etl", "nightly", "instance")},
		{"an empty segment once decoded", "/metrics/job/foo/a/%2Fb/c", key("job", "foo", "a", "", "b", "c")},
		{"base64, unpadded and padded", "/metrics/job@base64/Zm9v/a@base64/YQ==/b@base64/YQ", key("job", "foo", "a", "a", "b", "a")},
		{"base64, any padding", "/metrics/job@base64/Zm9v====/a@base64/====", key("job", "foo", "a", "")},
		{"base64 of nothing", "/metrics/job/foo/a@base64/=/b@base64/", key("job", "foo", "a", "", "b", "")},
		{"base64 with the mark escaped", "/metrics/job%40base64/Zm9v/a%40base64/YQ", key("job", "foo", "a", "a")},
		{"base64 of slashes and dots", "/metrics/job/foo/p@base64/L3Zhci9saWI/d@base64/Li4", key("job", "foo", "p", "/var/lib", "d", "..")},
		{"the URL alphabet", "/metrics/job@base64/P36-_w==", Key{}},
		{"escaped dots are a value", "/metrics/job/foo/d/%2e%2e/e/%2E", key("job", "foo", "d", "..", "e", ".")},
		{"escaped route", "/metrics%2fjob%2ffoo", key("job", "foo")},
		{"a plus is a plus", "/metrics/job/my+job/q/a+b%20c", key("job", "my+job", "q", "a+b c")},
		{"semicolons, percent, quotes", `/metrics/job/a;b=c/q/100%25%22'`, key("job", "a;b=c", "q", `100%"'`)},
		{"NUL and newline", "/metrics/job/a%00/q/%0A", key("job", "a\x00", "q", "\n")},
		{"the job is not overridden", "/metrics/job/foo/job/bar", key("job", "foo")},
		{"a repeated label", "/metrics/job/foo/a/1/a/2", key("job", "foo", "a", "2")},
		{"an overridden value that is not UTF-8", "/metrics/job/foo/a/%ff/a/2/job/%ff", key("job", "foo", "a", "2")},
		{"le and quantile", "/metrics/job/foo/le/5/quantile/x", key("job", "foo", "le", "5", "quantile", "x")},
		{"a job named like a mark", "/metrics/job/@base64", key("job", "@base64")},
		{"an escaped name, taken literally", "/metrics/job/foo/U__a_2e_b/x", key("job", "foo", "U__a_2e_b", "x")},
	} {
		got, err := ParsePath(c.path, false)
		if c.want.Job() == "" {
			if err == nil {
				t.Errorf("%s: %s parses as %s", c.name, c.path, got)
			}
			continue
		}
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%s: %s\n got %s, %v\nwant %s", c.name, c.path, got, err, c.want)
		}
	}
}

func TestParsePathUTF8Names(t *testing.T) {
	for _, c := range []struct {
		path string
		want Key
	}{
		{"/metrics/job/foo/k8s.pod.name/p", key("job", "foo", "k8s.pod.name", "p")},
		{"/metrics/job/foo/U__k8s_2e_pod_2e_name/p", key("job", "foo", "k8s.pod.name", "p")},
		{"/metrics/job/foo/U__k8s_2E_pod@base64/cA", key("job", "foo", "k8s.pod", "p")},
		{"/metrics/job/foo/U__a_2f_b@base64/YQ", key("job", "foo", "a/b", "a")},
		{"/metrics/job/foo/a@base64@base64/YQ", key("job", "foo", "a@base64", "a")},
		{"/metrics/job/foo/%C3%BC/x", key("job", "foo", "ü", "x")},
		{"/metrics/job/foo/1a/x", key("job", "foo", "1a", "x")},
		{"/metrics/job/foo/U__a/1/a/2", key("job", "foo", "a", "2")},
		{"/metrics/job/foo/U__job/bar", key("job", "foo")},
		{"/metrics/job/foo/U__broken_/x", key("job", "foo", "U__broken_", "x")},
	} {
		got, err := ParsePath(c.path, true)
		if err != nil || !got.Equal(c.want) {
			t.Errorf("%s\n got %s, %v\nwant %s", c.path, got, err, c.want)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, c := range []struct {
		name, path string
		reason     string // of the *Error
		fix        string // a part of it
	}{
		{"odd components", "/metrics/job/x/instance", `odd number of components in label string "/instance"`, "as /NAME/VALUE"},
		{"odd once decoded", "/metrics/job/foo%2Fbar", `odd number of components in label string "/bar"`, "as /NAME/VALUE"},
		{"odd before names", "/metrics/job/foo/1a/b/c", `odd number of components in label string "/1a/b/c"`, "as /NAME/VALUE"},
		{"bad name", "/metrics/job/foo/a-b/x", `improper label name "a-b"`, "name the label by"},
		{"name with a colon", "/metrics/job/foo/a:b/x", `improper label name "a:b"`, "rename the label"},
		{"name with a digit first", "/metrics/job/foo/1a/x", `improper label name "1a"`, "name the label by"},
		{"empty name", "/metrics/job/foo/@base64/YQ", `improper label name ""`, "name the label by"},
		{"reserved name", "/metrics/job/foo/__name__/x", `improper label name "__name__"`, "reserved"},
		{"reserved name in base64", "/metrics/job/foo/__x@base64/YQ", `improper label name "__x"`, "reserved"},
		{"name before base64", "/metrics/job/foo/1a@base64/!!", `improper label name "1a"`, "name the label by"},
		{"bad base64", "/metrics/job/foo/a@base64/!!", `invalid base64 encoding for label a="!!": illegal base64 data at input byte 0`, "URL alphabet"},
		{"standard alphabet", "/metrics/job/foo/a@base64/+w", `invalid base64 encoding for label a="+w": illegal base64 data at input byte 0`, "URL alphabet"},
		{"bad base64 job", "/metrics/job@base64/!!", `invalid base64 encoding in job name "!!": illegal base64 data at input byte 0`, "URL alphabet"},
		{"job before labels", "/metrics/job@base64/!!/odd", `invalid base64 encoding in job name "!!": illegal base64 data at input byte 0`, "URL alphabet"},
		{"empty job", "/metrics/job@base64/=", "job name is required", "/metrics/job/NAME"},
		{"empty job by escapes", "/metrics/job/%2F", "job name is required", "/metrics/job/NAME"},
		{"labels before an empty job", "/metrics/job@base64/=/x", `odd number of components in label string "/x"`, "as /NAME/VALUE"},
		{"job not UTF-8", "/metrics/job/foo%ff", `value "foo\xff" of label "job" in the path is not valid UTF-8`, "encode it as UTF-8"},
		{"value not UTF-8", "/metrics/job/foo/a/%c3", `value "\xc3" of label "a" in the path is not valid UTF-8`, "encode it as UTF-8"},
		{"value not UTF-8 in base64", "/metrics/job/foo/a@base64/_w", `value "\xff" of label "a" in the path is not valid UTF-8`, "encode it as UTF-8"},
		{"reserved name behind an escape", "/metrics/job/foo/U______x/x", `improper label name "U______x"`, `stands for "__x"`},
		{"bad escape", "/metrics/job/foo%zz", `invalid path: invalid URL escape "%zz"`, "%25"},
		{"empty value", "/metrics/job/foo/instance//b/c", `empty segment after "instance" in the path: a Pushgateway answers with a redirect, which loses the push`, "write instance@base64/=;"},
		{"empty value in base64", "/metrics/job/foo/a@base64//b/c", `empty segment after "a@base64" in the path: a Pushgateway answers with a redirect, which loses the push`, "write a@base64/=;"},
		{"dots as a value", "/metrics/job/foo/dot/../b/c", `segment ".." after "dot" in the path: a Pushgateway answers with a redirect, which loses the push`, "write dot@base64/Li4;"},
		{"a dot at the end", "/metrics/job/foo/dot/.", `segment "." after "dot" in the path: a Pushgateway answers with a redirect, which loses the push`, "write dot@base64/Lg;"},
		{"dots as a job", "/metrics/job/..", `segment ".." after "job" in the path: a Pushgateway answers with a redirect, which loses the push`, "write job@base64/Li4;"},
		{"empty job, written out", "/metrics/job//a/b", `empty segment after "job" in the path: a Pushgateway answers with a redirect, which loses the push`, "write job@base64/=;"},
		{"empty name, written out", "/metrics/job/foo//x/y", `empty segment after "foo" in the path: a Pushgateway answers with a redirect, which loses the push`, "NAME@base64/VALUE"},
		{"slashes at the start", "//metrics/job/x", "empty segment at the start of the path: a Pushgateway answers with a redirect, which loses the push", "leave it out"},
	} {
		key, err := ParsePath(c.path, false)
		bad, ok := errors.AsType[*Error](err)
		if !ok {
			t.Errorf("%s: %s: %s, %v; want an *Error", c.name, c.path, key, err)
			continue
		}
		if bad.Reason != c.reason || !strings.Contains(bad.Fix, c.fix) || (bad.Fix == "") != (c.fix == "") {
			t.Errorf("%s: %s\n got %s; %s\nwant %s; … %s …", c.name, c.path, bad.Reason, bad.Fix, c.reason, c.fix)
		}
		if unclean := strings.Contains(c.reason, "redirect"); errors.Is(err, ErrUnclean) != unclean {
			t.Errorf("%s: %s: ErrUnclean is %v", c.name, c.path, !unclean)
		}
	}
}

func TestParsePathRefusesUTF8Names(t *testing.T) {
	for _, c := range []struct{ name, path, reason, fix string }{
		{"reserved behind an escape", "/metrics/job/foo/U______x/x", `improper label name "U______x"`, `stands for "__x"`},
		{"reserved", "/metrics/job/foo/__x/x", `improper label name "__x"`, "reserved"},
		{"empty behind an escape", "/metrics/job/foo/U__/x", `improper label name "U__"`, "in UTF-8"},
		{"not UTF-8", "/metrics/job/foo/a%ff/x", `improper label name "a\xff"`, "in UTF-8"},
		{"a colon", "/metrics/job/foo/a:b/x", `improper label name "a:b"`, "rename the label"},
		{"a NUL", "/metrics/job/foo/a%00b/x", "improper label name \"a\\x00b\"", "rename the label"},
		{"a NUL behind an escape", "/metrics/job/foo/U__a_0_/x", `improper label name "U__a_0_"`, "rename the label"},
		{"a colon behind an escape", "/metrics/job/foo/U__a_3a_b_2e_c/x", `improper label name "U__a_3a_b_2e_c"`, "rename the label"},
		{"escaped twice", "/metrics/job/foo/U__U____x/x", `improper label name "U__U____x"`, `stands for "U__x"`},
	} {
		key, err := ParsePath(c.path, true)
		bad, ok := errors.AsType[*Error](err)
		if !ok || bad.Reason != c.reason || !strings.Contains(bad.Fix, c.fix) {
			t.Errorf("%s: %s: %s, %v; want %s; … %s …", c.name, c.path, key, err, c.reason, c.fix)
		}
	}
}

func TestParsePathNotGroup(t *testing.T) {
	for _, p := range []string{
		"", "*", "/", "/metrics", "/metrics/", "/metrics/job", "/metrics/job/", "/metrics/job@base64/", "/metrics/jobs/x",
		"/metrics/job@base64", "/metrics/jobx/y", "/metrics/job@base32/x", "/METRICS/job/x", "/metrics/Job/x",
		"/metricsjob/x", "metrics/job/x", "/api/v1/admin/wipe", "/-/quit", "/gw/metrics/job/x", "/metrics/job%2F",
	} {
		if key, err := ParsePath(p, false); err != ErrNotGroup {
			t.Errorf("%q: %s, %v; want ErrNotGroup", p, key, err)
		}
	}
}

// A request line may be a megabyte long, and what is said about it is not.
func TestParsePathCutsMessages(t *testing.T) {
	long := strings.Repeat("a", 1<<20)
	for _, p := range []string{
		"/metrics/job/x/" + long,
		"/metrics/job/x/" + long + "-/y",
		"/metrics/job/x/" + long + "/%ff",
		"/metrics/job/x/" + long + "//",
		"/metrics/job/x/" + long + "@base64/!",
		"/metrics/job/x/a@base64/!" + long,
		"/metrics/job@base64/!" + long,
		"/metrics/job/x/U______" + long + "/y",
		"/metrics/job/%zz" + long,
	} {
		_, err := ParsePath(p, false)
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%.40s…: a message of %d bytes", p, len(fmt.Sprint(err)))
		}
	}
}

// gatewayAnswer is what a Pushgateway makes of a path: the status, the labels of
// the group, or the text of a 400.
type gatewayAnswer struct {
	status int
	labels map[string]string
	text   string
}

var (
	gatewayRoute = regexp.MustCompile(`(?s)^/metrics/job(@base64)?/(?:([^/]+)|([^/]*)(/.*))$`)
	legacyName   = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
)

// gatewayReads is a Pushgateway reduced to its reading of paths: Go's own
// ServeMux before it, its route as a pattern, its rules for labels.
func gatewayReads(u *url.URL, utf8Names bool) (answer gatewayAnswer) {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { answer = readDecoded(r.URL.Path, utf8Names) })
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, &http.Request{Method: "POST", URL: u, RequestURI: "-", Host: "gateway"})
	if answer.status == 0 {
		answer.status = w.Code
	}
	return answer
}

func readDecoded(path string, utf8Names bool) gatewayAnswer {
	bad := func(format string, args ...any) gatewayAnswer {
		return gatewayAnswer{status: 400, text: fmt.Sprintf(format, args...)}
	}
	unbase64 := func(s string) (string, error) {
		b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
		return string(b), err
	}
	m := gatewayRoute.FindStringSubmatch(path)
	if m == nil {
		return gatewayAnswer{status: 404}
	}
	job, rest, err := m[2]+m[3], m[4], error(nil)
	if m[1] != "" {
		if job, err = unbase64(job); err != nil {
			return bad("invalid base64 encoding in job name ")
		}
	}
	group := map[string]string{}
	if len(rest) > 1 {
		parts := strings.Split(rest, "/")[1:]
		if len(parts)%2 == 1 {
			return bad("odd number of components in label string %q", rest)
		}
		for ; len(parts) > 0; parts = parts[2:] {
			name, value := strings.TrimSuffix(parts[0], "@base64"), parts[1]
			unescaped, valid := name, legacyName.MatchString(name)
			if utf8Names {
				unescaped = model.UnescapeName(name, model.ValueEncodingEscaping)
				valid = unescaped != "" && utf8.ValidString(unescaped)
			}
			if !valid || strings.HasPrefix(name, "__") {
				return bad("improper label name %q", name)
			}
			if name != parts[0] {
				if value, err = unbase64(value); err != nil {
					return bad("invalid base64 encoding for label %s=%q: %v", name, parts[1], err)
				}
			}
			group[unescaped] = value
		}
	}
	if job == "" {
		return bad("job name is required")
	}
	group["job"] = job
	return gatewayAnswer{status: 200, labels: group}
}

// checkAgainstGateway holds ParsePath to the gateway's reading of the path.
func checkAgainstGateway(t *testing.T, escaped string, utf8Names bool) {
	t.Helper()
	u, err := url.ParseRequestURI(escaped)
	if err != nil || !strings.HasPrefix(escaped, "/") {
		return // net/http answers before any handler
	}
	want := gatewayReads(u, utf8Names)
	got, err := ParsePath(u.EscapedPath(), utf8Names)
	bad, _ := errors.AsType[*Error](err)
	switch {
	case want.status == 307:
		if !errors.Is(err, ErrUnclean) || bad == nil || bad.Fix == "" {
			t.Errorf("%q is redirected, here %s, %v", escaped, got, err)
		}
	case want.status == 404:
		if err != ErrNotGroup {
			t.Errorf("%q is not found, here %s, %v", escaped, got, err)
		}
	case want.status == 400:
		if bad == nil || len(want.text) < 200 && !strings.HasPrefix(bad.Reason, want.text) {
			t.Errorf("%q is refused with %q, here %s, %v", escaped, want.text, got, err)
		}
	case err == nil:
		if !maps.Equal(asMap(got), want.labels) {
			t.Errorf("%q is the group %q, here %s", escaped, want.labels, got)
		}
		if again, err := ParsePath(got.Path(), utf8Names); err != nil || !again.Equal(got) {
			t.Errorf("%q is %s, and its path %q is %s, %v", escaped, got, got.Path(), again, err)
		}
	default:
		if bad == nil || bad.Fix == "" || !poisons(want.labels, utf8Names) {
			t.Errorf("%q is the group %q, here %v", escaped, want.labels, err)
		}
	}
}

// poisons reports whether a gateway takes a group that it had better not.
func poisons(group map[string]string, utf8Names bool) bool {
	for name, value := range group {
		unescaped := model.UnescapeName(name, model.ValueEncodingEscaping)
		if !utf8.ValidString(value) || strings.HasPrefix(name, "__") || strings.HasPrefix(unescaped, "__") ||
			utf8Names && (strings.ContainsAny(name, ":\x00") || legacyName.MatchString(name) && unescaped != name) {
			return true
		}
	}
	return false
}

func asMap(k Key) map[string]string {
	m := map[string]string{}
	for _, l := range k.Labels() {
		m[l.Name] = l.Value
	}
	return m
}

var pathSeeds = []string{
	"/metrics/job/foo/", "/metrics/job/foo/a/b", "/metrics/job@base64/Zm9v/a@base64/=", "/metrics/job%40base64/Zm9v",
	"/metrics/job/a%2Fb/c", "/metrics/job/%2F", "/metrics/job/%2F%2Fa/b", "/metrics/job//a", "/metrics/job/x/../y", "/metrics/job/x/a/.",
	"/metrics/job/x/a/%2e%2e", "/metrics/./job/x", "//metrics/job/x", "/metrics/job/x/a//", "/metrics/job/x/le/5?q=1",
	"/metrics/job/x/U__a_2e_b/c", "/metrics/job/x/U______x/c", "/metrics/job/x/U__U____x/c", "/metrics/job/x/U__U__2e_/c", "/metrics/job/x/a.b/c", "/metrics/job/x/%ff/c",
	"/metrics/job/x/a/%ff", "/metrics/job/x/a@base64/_w", "/metrics/job@base64/!!", "/metrics/job@base64/=", "/metrics/jobs/x", "/metrics",
	"/metrics/job/x/job/y", "/metrics/job/x/U__job/y", "/metrics/job/x/a/1/a/2", "/metrics/job/x/__a/1", "/metrics/job/x/a@base64@base64/1",
	"/metrics/job/a+b/c/%00%0A", "/metrics/job/x/instance", "/metrics/job/x/@base64/", "/metrics/job/x/U__%F4%8F%BF%BF_2f_/1",
}

func TestParsePathAgainstGateway(t *testing.T) {
	for _, p := range pathSeeds {
		checkAgainstGateway(t, p, false)
		checkAgainstGateway(t, p, true)
	}
}

func FuzzParsePath(f *testing.F) {
	for _, p := range pathSeeds {
		f.Add(p, false)
		f.Add(p, true)
	}
	f.Fuzz(checkAgainstGateway)
}

// FuzzParsePathTotal holds ParsePath to its errors for any string at all.
func FuzzParsePathTotal(f *testing.F) {
	for _, p := range pathSeeds {
		f.Add(p, true)
	}
	f.Add("%", false)
	f.Fuzz(func(t *testing.T, escaped string, utf8Names bool) {
		key, err := ParsePath(escaped, utf8Names)
		if _, ok := errors.AsType[*Error](err); err != nil && !ok && err != ErrNotGroup {
			t.Errorf("%q: %v is none of the promised errors", escaped, err)
		}
		if (err == nil) != (key.Job() != "") {
			t.Errorf("%q: %s, %v", escaped, key, err)
		}
	})
}

// capture is a recorded request and what Pushgateways answered.
type capture struct {
	Request struct{ Method, Target string }
	Answers map[string]struct {
		Status int
		Body   string
		Groups []struct{ Labels map[string]string }
	} `json:"pushgateway"`
}

func TestParsePathOnCaptures(t *testing.T) {
	files, err := filepath.Glob("../../testdata/captures/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no captures: %v", err)
	}
	var parsed, refused int
	for _, file := range files {
		var c capture
		b, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(b, &c)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, utf8Names := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%v", filepath.Base(file), utf8Names), func(t *testing.T) {
				if checkCapture(t, c, utf8Names) {
					parsed++
				} else {
					refused++
				}
			})
		}
	}
	if parsed < 250 || refused < 40 {
		t.Errorf("%d captures parsed and %d refused: are they all there?", parsed, refused)
	}
}

// checkCapture compares with what Pushgateway 1.11.3 stored or said, and reports
// whether the path is a group's.
func checkCapture(t *testing.T, c capture, utf8Names bool) bool {
	answer, ok := c.Answers["1.11.3 --push.enable-utf8-names"]
	if !ok || !utf8Names {
		answer = c.Answers["1.11.3"]
	}
	u, err := url.ParseRequestURI(c.Request.Target)
	if err != nil {
		if answer.Status != 400 {
			t.Errorf("answered with %d, here %v", answer.Status, err)
		}
		return false
	}
	key, err := ParsePath(u.EscapedPath(), utf8Names)
	ofPath := regexp.MustCompile(`^(odd number of|improper label|invalid base64|job name is)`).MatchString(answer.Body)
	switch {
	case answer.Status == 400 && ofPath:
		if bad, ok := errors.AsType[*Error](err); !ok || bad.Reason != strings.TrimSpace(answer.Body) {
			t.Errorf("refused with %q, here %s, %v", answer.Body, key, err)
		}
	case answer.Status == 307:
		if !errors.Is(err, ErrUnclean) {
			t.Errorf("redirected, here %s, %v", key, err)
		}
	case answer.Status == 404, answer.Status == 405 && u.Path == "/metrics", u.Path == "/api/v1/admin/wipe":
		if err != ErrNotGroup {
			t.Errorf("not a group, here %s, %v", key, err)
		}
	case err != nil:
		t.Errorf("answered with %d, here %v", answer.Status, err)
	case len(answer.Groups) > 0 && !maps.Equal(answer.Groups[0].Labels, asMap(key)):
		t.Errorf("stored as %q, here %s", answer.Groups[0].Labels, key)
	case len(answer.Groups) == 0 && c.Request.Method != "DELETE" && answer.Status < 300:
		t.Errorf("stored as nothing, here %s", key)
	}
	return err == nil
}
