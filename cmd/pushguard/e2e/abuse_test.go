package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// sealed refuses what the tests push to jobs named sealed…, and nothing else.
const sealed = `version: v1
default: {mode: open}
jobs:
- {job: 'sealed.*', mode: enforce, limits: {sample_limit: 1}}
`

// parts are what random paths are made of: names and values in every spelling that a
// router, a decoder or a regular expression may read otherwise than the next one.
var parts = []string{
	"metrics", "job", "sealed", "%73ealed", "sealed%5F1", "%2573ealed", "sealed%0a", "sealed%00", "c2VhbGVk", "c2VhbGVk%3D", "c2VhbGVk%3d%3d", "=",
	"job@base64", "job%40base64", "job%2540base64", "JOB", "j%6fb", "a", "b", "a@base64", "instance", "instance@base64", "", ".", "..", "%2e%2e", "%2e",
	"%2F", "%2f", "a%2Fjob%2Fsealed", "a%2F..%2Fsealed", "%2Fmetrics%2Fjob%2Fsealed", ";", "a;b=c", "?", "#", "%3F", "%23", "+", "%2B", " ", "%20",
	`\`, "%5C", "%", "%zz", "%f0%9f", "%C0%AF", "é", "\u2044", "\t", "x\x00", "metrics/job/sealed", "//metrics/job/sealed", "http:", "api", "v1",
}

// paths are random request targets, most of them near those of a group.
func paths() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		of := rapid.SliceOfN(rapid.SampledFrom(parts), 0, 5).Draw(t, "parts")
		switch rapid.IntRange(0, 5).Draw(t, "beginning") {
		case 0:
			return "/" + strings.Join(of, "/")
		case 1:
			return "/metrics/job@base64/" + strings.Join(of, "/")
		case 2:
			return "http://example.org/metrics/job/" + strings.Join(of, "/")
		default:
			return "/metrics/job/" + strings.Join(of, "/")
		}
	})
}

// Whatever the path, what is stored was judged: no group of a sealed job is ever at the
// Pushgateway, what the guard accepts is the very group that a bare Pushgateway makes
// of that path, and what it does not accept writes nothing.
func TestRandomPaths(t *testing.T) {
	t.Parallel()
	world.Need(t, world.PushgatewayPath)
	behind, bare := world.Pushgateway(t, "--web.enable-admin-api"), world.Pushgateway(t, "--web.enable-admin-api")
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: world.Write(t, "policy.yml", sealed), Flags: []string{"--web.enable-admin-api"}})
	accepted := 0
	rapid.Check(t, func(r *rapid.T) {
		request := world.Request{Method: rapid.SampledFrom([]string{"POST", "PUT"}).Draw(r, "method"), Target: paths().Draw(r, "path"), Body: "rows 1\nlines 2\n"}
		got := guard.Send(t, request)
		held := behind.State(t)
		for _, g := range held {
			if strings.HasPrefix(g.Key["job"], "sealed") {
				r.Errorf("%q: the group %v is stored", request.Target, g.Key)
			}
		}
		if got.Status != http.StatusOK {
			if len(held) > 0 {
				r.Errorf("%q: status %d, and %v is stored", request.Target, got.Status, held.Keys())
			}
			return // a bare Pushgateway does not survive some of these
		}
		alone := bare.Send(t, request)
		if alone.Status >= 300 && alone.Status < 400 {
			guard.Wipe(t)
			return // a Pushgateway redirects some paths, and the push is lost: a guard never does
		}
		accepted++
		if alone.Status != http.StatusOK {
			r.Errorf("%q: the guard accepts what a Pushgateway answers with %d", request.Target, alone.Status)
		}
		if diff := cmp.Diff(bare.State(t), held); diff != "" {
			r.Errorf("%q (-bare +guarded)\n%s", request.Target, diff)
		}
		guard.Wipe(t)
		bare.Wipe(t)
	})
	if accepted == 0 {
		t.Error("no path was one of a group")
	}
}

// smuggled is a request that must never be read as one: it stands where the framing of
// another one ends, in the eyes of somebody.
const smuggled = "DELETE /metrics/job/kept HTTP/1.1\r\nHost: x\r\n\r\n"

// Requests whose end, whose headers or whose path two servers could see in different
// places are refused, or read in one way by guard and Pushgateway.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	world.Need(t, world.PushgatewayPath)
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind})
	mustPush(t, guard, seedPath, seedBody)
	mustPush(t, guard, "/metrics/job/kept", "kept 1\n")
	kept := map[string]string{"job": "kept"}
	before, _ := behind.State(t).Group(kept)
	start := "POST /metrics/job/x HTTP/1.1\r\nHost: x\r\n"
	for name, raw := range map[string]string{
		"both lengths":                     start + "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"both lengths, turned round":       start + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n" + "5c\r\n" + smuggled + "\r\n0\r\n\r\n",
		"two lengths":                      start + "Content-Length: 7\r\nContent-Length: 0\r\n\r\n" + smuggled,
		"two lengths in one":               start + "Content-Length: 7, 0\r\n\r\n" + smuggled,
		"a length with a sign":             start + "Content-Length: +7\r\n\r\nrows 1\n" + smuggled,
		"a negative length":                start + "Content-Length: -1\r\n\r\n" + smuggled,
		"a length that is too large":       start + "Content-Length: 99999999999999999999\r\n\r\n" + smuggled,
		"chunked twice":                    start + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"chunked and something else":       start + "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + smuggled,
		"chunked behind a vertical tab":    start + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a space before the colon":         start + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a folded header":                  start + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + smuggled,
		"a chunk of a broken size":         start + "Transfer-Encoding: chunked\r\n\r\n0x7\r\nrows 1\n\r\n0\r\n\r\n" + smuggled,
		"a chunk of an endless size":       start + "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nrows 1\n\r\n0\r\n\r\n" + smuggled,
		"a chunk longer than it says":      start + "Transfer-Encoding: chunked\r\n\r\n3\r\nrows 1\n\r\n0\r\n\r\n" + smuggled,
		"a chunk that ends in a line feed": start + "Transfer-Encoding: chunked\r\n\r\n7\nrows 1\n\n0\n\n" + "GARBAGE" + smuggled,
		"a NUL in a header":                start + "X-A: a\x00b\r\nContent-Length: 0\r\n\r\n",
		"a NUL in a header's name":         start + "X\x00A: a\r\nContent-Length: 0\r\n\r\n",
		"a carriage return alone":          start + "X-A: a\rTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
		"a header without a name":          start + ": a\r\nContent-Length: 0\r\n\r\n",
		"two hosts":                        start + "Host: y\r\nContent-Length: 0\r\n\r\n",
		"no host":                          "POST /metrics/job/x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
		"a NUL in the path":                "POST /metrics/job/x\x00 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"a space in the path":              "POST /metrics/job/x y HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"HTTP/0.9":                         "POST /metrics/job/x\r\n\r\n",
		"HTTP/3.0":                         "POST /metrics/job/x HTTP/3.0\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"an upgrade to h2c":                "POST /metrics/job/x HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 52\r\n\r\n" + smuggled,
		"CONNECT":                          "CONNECT 127.0.0.1:1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"TRACE":                            "TRACE /metrics/job/x HTTP/1.1\r\nHost: x\r\n\r\n",
		"headers without end":              start + strings.Repeat("X-A: "+strings.Repeat("a", 1000)+"\r\n", 3000) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := guard.Dial(t)
			defer c.Close()
			c.Write([]byte(raw))
			c.CloseWrite()
			statuses := []int{}
			for len(statuses) < 3 {
				a := c.Read(http.MethodPost)
				if a.Status == 0 {
					break
				}
				statuses = append(statuses, a.Status)
			}
			if slices.Contains(statuses, http.StatusAccepted) {
				t.Errorf("statuses %v: the request within was carried out", statuses)
			}
			if g, found := behind.State(t).Group(kept); !found || cmp.Diff(before, g) != "" {
				t.Errorf("statuses %v: the group that the request within would delete is %v", statuses, g)
			}
		})
	}
	holdHealthy(t, guard, behind)
}

// TestSecretsByTheirLabels: what a label named password or token holds is kept nowhere,
// however much like a word it looks, once a rule has taken the label or refused the push.
func TestSecretsByTheirLabels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	guard := world.Guard(t, world.GuardOptions{
		Policy: world.Write(t, "policy.yml", `version: v1
default: {mode: enforce, labels: [instance, table]}
jobs:
- job: sealed
  rules:
  - {id: secrets, labels: [.*token, .*password], action: reject}
- job: told
  counters:
    families: [{metrics: [state], as: event}]
`),
		Flags: []string{"--audit.file=" + file("audit"), "--record.file=" + file("record"), "--events.url=file://" + file("events"), "--log.level=debug"},
	})
	for _, job := range []string{"dropped", "sealed", "told"} {
		guard.Push(t, "/metrics/job/"+job, "state{table=\"t\",db_password=\"swordfish\",token=\"swordfish\"} 1\n")
	}
	seen := []string{"audit", "record", "events", "log", "API", "console"}
	read := func(of string) string {
		switch of {
		case "log":
			return guard.Logs()
		case "API":
			return guard.Get(t, "/guard/api/v1/jobs/dropped").Body + guard.Get(t, "/guard/api/v1/audit").Body
		case "console":
			return guard.Get(t, "/guard/job?name=dropped").Body + guard.Get(t, "/guard/audit").Body
		}
		text, _ := os.ReadFile(file(of))
		for line := range strings.Lines(string(text)) {
			var record struct {
				Request struct {
					Body []byte `json:"body_base64"`
				}
			}
			if json.Unmarshal([]byte(line), &record) == nil {
				text = append(text, record.Request.Body...)
			}
		}
		return string(text)
	}
	for _, of := range seen {
		world.Eventually(t, func() error {
			if of != "log" && !strings.Contains(read(of), "db_password") {
				return fmt.Errorf("%s does not tell of the label yet", of)
			}
			return nil
		})
		if text := read(of); strings.Contains(text, "swordfish") {
			t.Errorf("%s has the password:\n%s", of, text)
		}
	}
	world.Eventually(t, func() error {
		if strings.Count(read("events"), `"event_id"`) < 4 {
			return errors.New("not all events are there")
		}
		return nil
	})
	if text := read("events"); strings.Contains(text, "swordfish") {
		t.Error(text)
	}
}
