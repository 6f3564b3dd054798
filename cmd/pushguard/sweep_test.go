package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

func TestWrongSweeps(t *testing.T) {
	client := write(t, "client.yml", "basic_aut: {username: a}\n")
	const url = "http://127.0.0.1:1"
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no URL", nil, "required argument 'URL' not provided"},
		{"two URLs", []string{url, url}, "unexpected http://127.0.0.1:1"},
		{"no URL at all", []string{"127.0.0.1:9091"}, `URL "127.0.0.1:9091": want an absolute URL, such as http://127.0.0.1:9092`},
		{"of another scheme", []string{"ftp://h"}, `upstream url "ftp://h": scheme must be http or https`},
		{"with credentials", []string{"http://a:secret@h"}, `upstream url "http://a:xxxxx@h": must hold no credentials, query or fragment`},
		{"no age", []string{"--older-than=0s", url}, `--older-than="0s": want a time of 1s or more, such as 6h or 7d`},
		{"too young", []string{"--older-than=999ms", url}, `--older-than="999ms": want a time of 1s or more, such as 6h or 7d`},
		{"an age without a unit", []string{"--older-than=6", url}, `--older-than="6": want a time of 1s or more, such as 6h or 7d`},
		{"no regular expression", []string{"--job=a(", url}, "--job=\"a(\": want a regular expression such as nightly_.*: error parsing regexp: missing closing ): `^(?s:a()$`"},
		{"no rate", []string{"--rate=0/s", url}, `--rate="0/s": want a number a second from 0.001/s to 1000000/s, such as 200/s`},
		{"a rate of another time", []string{"--rate=5/m", url}, `--rate="5/m": want a number a second from 0.001/s to 1000000/s, such as 200/s`},
		{"a rate that is none", []string{"--rate=NaN", url}, `--rate="NaN": want a number a second from 0.001/s to 1000000/s, such as 200/s`},
		{"too fast", []string{"--rate=1000001", url}, `--rate="1000001": want a number a second from 0.001/s to 1000000/s, such as 200/s`},
		{"no timeout", []string{"--pushgateway.timeout=0s", url}, `--pushgateway.timeout="0s": want a time above 0, such as 30s or 1m30s`},
		{"a client config with a fault", []string{"--pushgateway.config.file=" + client, url}, "--pushgateway.config.file: yaml: unmarshal errors: line 1: field basic_aut not found in type config.plain"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := command(t, append([]string{"sweep"}, tc.args...)...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, want 2, and on stdout %q", code, stdout)
			}
			if diff := cmp.Diff("pushguard: "+tc.want+", try --help\n", stderr); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// sweepFront stands before a real Pushgateway and does wrong what a test wants
// done wrong.
type sweepFront struct {
	behind  *url.URL
	forward http.Handler
	server  string // the header Server
	deletes atomic.Int32
	lists   atomic.Int32
	// onDelete and onList may answer in place of the Pushgateway, and then return
	// true. n counts from 1.
	onDelete, onList func(n int32, w http.ResponseWriter, r *http.Request) bool
}

// newSweepFront holds groups of the jobs, stale by a second, the first one first.
func newSweepFront(t *testing.T, jobs ...string) *sweepFront {
	t.Helper()
	f := &sweepFront{behind: gatewaytest.Start(t)}
	f.forward = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(f.behind) }}
	for _, job := range jobs {
		f.push(t, job)
	}
	time.Sleep(1200 * time.Millisecond)
	return f
}

func (f *sweepFront) push(t *testing.T, job string) {
	t.Helper()
	resp, err := http.Post(f.behind.JoinPath("metrics", "job", job).String(), "text/plain", strings.NewReader("a 1\n"))
	if err != nil {
		t.Error(err)
		return
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("push of %s: %d", job, resp.StatusCode)
	}
}

// remove deletes a group as somebody else would.
func (f *sweepFront) remove(t *testing.T, job string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodDelete, "/metrics/job/"+job, nil)
	w := httptest.NewRecorder()
	if f.forward.ServeHTTP(w, r); w.Code != http.StatusAccepted {
		t.Errorf("delete %s: %d", job, w.Code)
	}
	f.push(t, "behind_the_delete") // which the Pushgateway does afterwards
}

// ServeHTTP implements http.Handler.
func (f *sweepFront) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if f.server != "" {
		w.Header().Set("Server", f.server)
	}
	n, instead := int32(0), (func(int32, http.ResponseWriter, *http.Request) bool)(nil)
	switch {
	case r.Method == http.MethodDelete:
		n, instead = f.deletes.Add(1), f.onDelete
	case r.URL.Path == "/api/v1/metrics":
		n, instead = f.lists.Add(1), f.onList
	}
	if instead == nil || !instead(n, w, r) {
		f.forward.ServeHTTP(w, r)
	}
}

// answer is an onDelete or onList that answers by a status.
func answer(status int) func(int32, http.ResponseWriter, *http.Request) bool {
	return func(_ int32, w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "a reason\nand more\n")
		return true
	}
}

// breakOff ends the connection without an answer.
func breakOff(_ int32, _ http.ResponseWriter, _ *http.Request) bool { panic(http.ErrAbortHandler) }

// holdSweep sweeps through the front and compares what is told, without ages.
func holdSweep(t *testing.T, f *sweepFront, code int, stdout, stderr string, flags ...string) {
	t.Helper()
	s := httptest.NewServer(f)
	defer s.Close()
	got, out, errs := command(t, append([]string{"sweep", "--older-than=1s", s.URL}, flags...)...)
	if got != code {
		t.Errorf("exit %d, want %d", got, code)
	}
	if diff := cmp.Diff(stdout, withoutAges(out)); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	if f.server == "" {
		stderr = fmt.Sprintf(bareWarning, s.URL) + stderr
	}
	if diff := cmp.Diff(stderr, errs); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

func withoutAges(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		before, after, found := strings.Cut(line, ", pushed ")
		if _, after, ago := strings.Cut(after, " ago"); found && ago {
			line = before + after
		}
		b.WriteString(line)
	}
	return b.String()
}

const notDeleted = "pushguard: 1 of 1 stale groups cannot be deleted or were not\n"

func TestSweepSaysWhatWasNotDeleted(t *testing.T) {
	t.Parallel()
	f := newSweepFront(t, "j")
	for name, c := range map[string]struct {
		onDelete func(int32, http.ResponseWriter, *http.Request) bool
		told     string
	}{
		"accepted, and not done":  {answer(http.StatusAccepted), "it is still there, as it was, 5s after it was to be deleted"},
		"refused":                 {answer(http.StatusForbidden), `status 403 "a reason"`},
		"busy":                    {answer(http.StatusServiceUnavailable), `status 503 "a reason"`},
		"redirected":              {answer(http.StatusTemporaryRedirect), `upstream redirects: status 307 to "/elsewhere"`},
		"without an answer":       {breakOff, "it is still there, as it was, 5s after it was to be deleted"},
		"another answer than 202": {answer(http.StatusOK), `status 200 "a reason"`},
	} {
		t.Run(name, func(t *testing.T) {
			f.onDelete = c.onDelete
			holdSweep(t, f, 1, `failed {job="j"}: `+c.told+"\n1 of 1 groups stale: 1 failed\n", notDeleted, "--pushgateway.timeout=5s")
		})
	}
}

// TestSweepOnCondition has the guard's part refuse: the group was pushed since.
func TestSweepOnCondition(t *testing.T) {
	t.Parallel()
	f := newSweepFront(t, "j")
	f.server = "pushguard/1.2.3"
	f.onDelete = func(_ int32, w http.ResponseWriter, r *http.Request) bool {
		since, err := http.ParseTime(r.Header.Get("If-Unmodified-Since"))
		if err != nil || time.Since(since) < 0 || time.Since(since) > time.Minute {
			t.Errorf("If-Unmodified-Since %q, %v", r.Header.Get("If-Unmodified-Since"), err)
		}
		if !strings.HasPrefix(r.UserAgent(), "pushguard/") {
			t.Errorf("User-Agent %q", r.UserAgent())
		}
		w.WriteHeader(http.StatusPreconditionFailed)
		return true
	}
	holdSweep(t, f, 0, "kept {job=\"j\"}: pushed meanwhile\n1 of 1 groups stale: 1 kept\n", "")
}

func TestSweepThroughAFrontThatFails(t *testing.T) {
	t.Parallel()
	t.Run("an answer that is lost", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t, "j")
		f.onDelete = func(n int32, w http.ResponseWriter, r *http.Request) bool {
			f.forward.ServeHTTP(httptest.NewRecorder(), r)
			return breakOff(n, w, r)
		}
		holdSweep(t, f, 0, "deleted {job=\"j\"}\n1 of 1 groups stale: 1 deleted\n", "")
	})
	t.Run("a deletion that waits in the queue", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t, "j")
		f.onDelete = answer(http.StatusAccepted)
		f.onList = func(n int32, _ http.ResponseWriter, _ *http.Request) bool {
			if n == 4 {
				f.remove(t, "j")
			}
			return false
		}
		holdSweep(t, f, 0, "deleted {job=\"j\"}\n1 of 1 groups stale: 1 deleted\n", "")
	})
	t.Run("no listing to begin with", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t)
		f.server, f.onList = "pushguard", answer(http.StatusInternalServerError)
		holdSweep(t, f, 1, "", "pushguard: get /api/v1/metrics from the upstream: status 500\n")
	})
	t.Run("a listing that fails once", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t, "j")
		f.onList = func(n int32, w http.ResponseWriter, r *http.Request) bool {
			return n == 2 && answer(http.StatusInternalServerError)(n, w, r)
		}
		holdSweep(t, f, 0, "deleted {job=\"j\"}\n1 of 1 groups stale: 1 deleted\n", "")
	})
	t.Run("no listing to verify by", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t, "j")
		f.onList = func(n int32, w http.ResponseWriter, r *http.Request) bool {
			return n > 1 && answer(http.StatusInternalServerError)(n, w, r)
		}
		holdSweep(t, f, 1, "failed {job=\"j\"}: nobody saw whether it is gone: get /api/v1/metrics from the upstream: status 500\n1 of 1 groups stale: 1 failed\n",
			notDeleted, "--pushgateway.timeout=5s")
	})
	t.Run("no listing between batches", func(t *testing.T) {
		t.Parallel()
		f := newSweepFront(t, "a", "b")
		f.onList = func(n int32, w http.ResponseWriter, r *http.Request) bool {
			return n > 1 && answer(http.StatusInternalServerError)(n, w, r)
		}
		const cause = "get /api/v1/metrics from the upstream: status 500"
		holdSweep(t, f, 1, `failed {job="a"}: nobody saw whether it is gone: `+cause+"\n"+`failed {job="b"}: not tried: `+cause+"\n2 of 2 groups stale: 2 failed\n",
			"pushguard: 2 of 2 stale groups cannot be deleted or were not\n", "--rate=1")
	})
}

// TestSweepListsBeforeEveryBatch has somebody delete and push what is not due yet.
func TestSweepListsBeforeEveryBatch(t *testing.T) {
	t.Parallel()
	f := newSweepFront(t, "a", "b", "c", "d")
	f.onList = func(n int32, _ http.ResponseWriter, _ *http.Request) bool {
		if n == 2 {
			f.remove(t, "b")
			f.push(t, "c")
		}
		return false
	}
	holdSweep(t, f, 0, `deleted {job="a"}
gone {job="b"}: somebody else deleted it
kept {job="c"}: pushed meanwhile
deleted {job="d"}
4 of 4 groups stale: 2 deleted, 1 kept, 1 gone
`, "", "--rate=1/s")
}

// TestSweepGuardedInOneBatch lists twice, however slow it is: nothing that is
// pushed meanwhile can be lost.
func TestSweepGuardedInOneBatch(t *testing.T) {
	t.Parallel()
	f := newSweepFront(t, "a", "b", "c")
	f.server = "pushguard/1"
	f.onDelete = func(n int32, w http.ResponseWriter, r *http.Request) bool {
		if n < 3 {
			return false
		}
		f.remove(t, strings.TrimPrefix(r.URL.Path, "/metrics/job/")) // and all before, so that one listing sees it
		return answer(http.StatusAccepted)(n, w, r)
	}
	holdSweep(t, f, 0, "deleted {job=\"a\"}\ndeleted {job=\"b\"}\ndeleted {job=\"c\"}\n3 of 3 groups stale: 3 deleted\n", "", "--rate=20/s")
	if n := f.lists.Load(); n != 2 {
		t.Errorf("%d listings, want 2", n)
	}
}

func TestSweepIsInterrupted(t *testing.T) {
	t.Parallel()
	f := newSweepFront(t, "a", "b")
	ctx, cancel := context.WithCancel(t.Context())
	f.server = "pushguard"
	f.onDelete = func(n int32, w http.ResponseWriter, r *http.Request) bool {
		time.AfterFunc(time.Second, cancel)
		return answer(http.StatusAccepted)(n, w, r)
	}
	s := httptest.NewServer(f)
	defer s.Close()
	var out, errs strings.Builder
	code := run(ctx, []string{"sweep", "--older-than=1s", "--rate=0.05", s.URL}, strings.NewReader(""), &out, &errs)
	want := `failed {job="a"}: nobody saw whether it is gone: context canceled
failed {job="b"}: not tried: context canceled
2 of 2 groups stale: 2 failed
`
	if diff := cmp.Diff(want, withoutAges(out.String())); code != 1 || diff != "" {
		t.Errorf("exit %d, stdout (-want +got):\n%s", code, diff)
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestSweepThatCannotReport(t *testing.T) {
	t.Parallel()
	var errs strings.Builder
	code := run(t.Context(), []string{"sweep", gatewaytest.Start(t).String()}, strings.NewReader(""), fullDisk{}, &errs)
	if code != 1 || errs.String() != "pushguard: write: no space left\n" {
		t.Errorf("exit %d, %q", code, errs.String())
	}
}

func TestUnmodifiedSince(t *testing.T) {
	at := func(s float64) time.Time {
		return time.Unix(1_700_000_000, 0).Add(time.Duration(s * float64(time.Second)))
	}
	for _, c := range []struct{ pushed, listed, want float64 }{
		{0.9, 1.9, 1}, {0.9, 2.8, 1}, {1, 2, 1}, {1, 2.9, 1}, // no room
		{0.9, 2.9, 1}, {0.1, 2.2, 1}, {0, 2, 1}, {1, 4, 2}, {0, 21600, 10800},
	} {
		got := unmodifiedSince(at(c.pushed), at(c.listed))
		if !got.Equal(at(c.want)) || got.Before(at(c.pushed)) || got.After(at(c.listed)) {
			t.Errorf("pushed at %v, listed at %v: %v, want %v", c.pushed, c.listed, got.Sub(at(0)), c.want)
		}
	}
}

func TestUnaddressable(t *testing.T) {
	for _, c := range []struct {
		name, value string
		utf8Names   bool
		want        bool
	}{
		{"a", "b", false, false},
		{"a", "a/b", false, false},
		{"a", "", true, false},
		{"a", "\ufffd", false, true},
		{"a\ufffd", "b", true, true},
		{"a.b", "c", true, false},
		{"a.b", "c", false, true},      // there can be no such group
		{"__a", "c", true, true},       // written as another name
		{"U__a", "c", true, true},      // would name the group of a
		{"U__a", "c", false, false},    // taken literally
		{"U______a", "c", false, true}, // stands for __a, if anybody unescapes it
	} {
		p := sweepPass{utf8Names: c.utf8Names}
		key := wire.NewKey(labels.Label{Name: "job", Value: "j"}, labels.Label{Name: c.name, Value: c.value})
		if got := p.unaddressable(key); (got != "") != c.want {
			t.Errorf("%s, UTF-8 names %v: %q", key, c.utf8Names, got)
		}
	}
}
