package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// twins are two real Pushgateways, of which one is pushed text and the other what
// Transcode makes of it. Both hold a counter, gauge and histogram of another group, for
// pushes to be in conflict with.
type twins struct{ text, protobuf *url.URL }

func startTwins(t testing.TB) twins {
	t.Helper()
	w := twins{gatewaytest.Start(t), gatewaytest.Start(t)}
	for _, u := range []*url.URL{w.text, w.protobuf} {
		status, answer := put(t, u, "/metrics/job/other", TextType, []byte(
			"# HELP a The other's.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 2\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n"))
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
	}
	return w
}

// same pushes the text to one and its rendition to the other, and holds both to one
// answer, one page and one listing. It reports whether there is a rendition.
func (w twins) same(t *testing.T, body []byte) bool {
	t.Helper()
	p := &Push{}
	if p.Parse(body, Text, someKey, Options{}) != nil {
		return false
	}
	rendition, ok := Transcode(nil, p, passing(p))
	if !ok {
		return false
	}
	paths := []string{"/metrics/job/j", "/metrics/job/other/a/x"}
	for _, path := range paths { // what an earlier push that failed has left
		push(t, http.MethodDelete, w.text, path, "", nil)
		push(t, http.MethodDelete, w.protobuf, path, "", nil)
	}
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		for _, path := range paths {
			status, answer := push(t, method, w.text, path, TextType, body)
			gotStatus, gotAnswer := push(t, method, w.protobuf, path, ProtobufType, rendition)
			if gotStatus != status || cause(gotAnswer) != cause(answer) {
				t.Fatalf("%s of %q:\ntext:     %d %s\nprotobuf: %d %s", method, body, status, answer, gotStatus, gotAnswer)
			}
		}
		if d := cmp.Diff(pushedLines(t, w.text), pushedLines(t, w.protobuf)); d != "" {
			t.Fatalf("%s of %q: pages differ (-text +protobuf):\n%s", method, body, d)
		}
		if d := cmp.Diff(listing(t, w.text), listing(t, w.protobuf)); d != "" {
			t.Fatalf("%s of %q: listings differ (-text +protobuf):\n%s", method, body, d)
		}
	}
	return true
}

// TestTranscodedIsTheSamePush is about the Pushgateway that is installed, whose text
// parser is older than ours.
func TestTranscodedIsTheSamePush(t *testing.T) {
	w := startTwins(t)
	n := 0
	for _, body := range slices.Concat(transcoded, texts) {
		if w.same(t, []byte(body)) {
			n++
		}
	}
	if n < len(transcoded) {
		t.Errorf("only %d of the bodies went on as protobuf", n)
	}
	for _, body := range capturedTexts(t) {
		w.same(t, body)
	}
}

func FuzzTranscodedIsTheSamePush(f *testing.F) {
	w := startTwins(f)
	for _, body := range slices.Concat(transcoded, texts) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { w.same(t, body) })
}

func put(t testing.TB, u *url.URL, path, contentType string, body []byte) (int, string) {
	return push(t, http.MethodPut, u, path, contentType, body)
}

func push(t testing.TB, method string, u *url.URL, path, contentType string, body []byte) (int, string) {
	t.Helper()
	r, err := http.NewRequest(method, u.JoinPath(path).String(), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(content(t, resp))
}

func get(t testing.TB, u *url.URL, path string) []byte {
	t.Helper()
	resp, err := http.Get(u.JoinPath(path).String())
	if err != nil {
		t.Fatal(err)
	}
	return content(t, resp)
}

func content(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// cause is what an answer says up to the metric that is at fault: a Pushgateway names
// those that it comes upon first in a map.
func cause(answer string) string {
	before, _, _ := strings.Cut(answer, ": ")
	return before
}

var ownTimes = regexp.MustCompile(`(?m)^(push_time_seconds|push_failure_time_seconds)(\{.*\}) .*$`)

// pushedLines are the samples of pushes on the page, with the types of their families,
// and of the times of a group whether there is one. Which group's help is on the page
// is chance, so that is left to the listing.
func pushedLines(t testing.TB, u *url.URL) []string {
	t.Helper()
	var out []string
	typ := ""
	page := ownTimes.ReplaceAllString(string(get(t, u, "/metrics")), "$1$2")
	for line := range strings.Lines(page) {
		switch {
		case strings.HasPrefix(line, "# TYPE"):
			typ = line
		case !strings.HasPrefix(line, "#") && strings.Contains(line, `job="`):
			out = append(out, typ+line)
		}
	}
	return out
}

// listing is what the Pushgateway says of its groups, its times left out.
func listing(t testing.TB, u *url.URL) []string {
	t.Helper()
	var answer struct{ Data []map[string]any }
	if err := json.Unmarshal(get(t, u, "/api/v1/metrics"), &answer); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, group := range answer.Data {
		for _, family := range group {
			if f, ok := family.(map[string]any); ok {
				delete(f, "time_stamp")
			}
		}
		for name := range maps.Keys(group) {
			if ownTimes.MatchString(name + "{} 1") {
				delete(group, name)
			}
		}
		text, err := json.Marshal(group)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(text))
	}
	slices.Sort(out)
	return out
}
