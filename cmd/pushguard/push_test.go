package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// pushed runs pushguard push against a URL.
func pushed(t *testing.T, url, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	for _, v := range []string{"URL", "USER", "PASSWORD", "TOKEN"} {
		if _, set := os.LookupEnv("PUSHGUARD_" + v); !set {
			t.Setenv("PUSHGUARD_"+v, "")
		}
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"push", "--url=" + url}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// scripted is a server that gives its answers in turn, the last again and again, and
// keeps what it was sent.
type scripted struct {
	*httptest.Server
	mu      sync.Mutex
	answers []int
	got     []*http.Request
	bodies  []string
}

func newScripted(t *testing.T, answers ...int) *scripted {
	t.Helper()
	s := &scripted{answers: answers}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		status := s.answers[min(len(s.got), len(s.answers)-1)]
		s.got, s.bodies = append(s.got, r), append(s.bodies, string(body))
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		if status == http.StatusMovedPermanently {
			w.Header().Set("Location", "/elsewhere")
		}
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, "why\nit is so\n")
	}))
	t.Cleanup(s.Close)
	return s
}

// requests are those that it got.
func (s *scripted) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func TestPushTriesAgainWhatMayPass(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers []int
		code    int
		sent    int
		want    string
	}{
		{"accepted", []int{200}, 0, 1, ""},
		{"accepted in time", []int{202}, 0, 1, ""},
		{"no server behind", []int{502, 503, 200}, 0, 3, ""},
		{"an error of the server", []int{500, 200}, 0, 2, ""},
		{"too many at once", []int{429, 200}, 0, 2, ""},
		{"no answer", []int{0, 200}, 0, 2, ""},
		{"refused by the protocol", []int{400}, 1, 1, "status 400: why; it is so\n"},
		{"refused by the policy", []int{422}, 1, 1, "status 422: why; it is so\n"},
		{"nobody it knows", []int{401}, 1, 1, "status 401: why; it is so\n"},
		{"refused in the second attempt", []int{503, 400}, 1, 2, "status 400: why; it is so\n"},
		{"sent elsewhere", []int{301}, 1, 1, "redirects"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScripted(t, tc.answers...)
			code, stdout, stderr := pushed(t, s.URL, "a 1\n", "--job=x", "--timeout=60s")
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.want) || tc.want == "" && stderr != "" {
				t.Errorf("exit code %d, want %d; %q, %q", code, tc.code, stdout, stderr)
			}
			if len(s.requests()) != tc.sent {
				t.Errorf("sent %d times, want %d", len(s.requests()), tc.sent)
			}
			for i, r := range s.requests() {
				key := r.Header.Get("Idempotency-Key")
				if len(key) < 20 || key != s.requests()[0].Header.Get("Idempotency-Key") || s.bodies[i] != "a 1\n" {
					t.Errorf("attempt %d: key %q, body %q", i+1, key, s.bodies[i])
				}
			}
		})
	}
}

func TestPushesHaveKeysOfTheirOwn(t *testing.T) {
	s := newScripted(t, 200)
	for range 2 {
		pushed(t, s.URL, "a 1\n", "--job=x")
	}
	pushed(t, s.URL, "a 1\n", "--job=x", "--idempotency-key=mine")
	keys := []string{}
	for _, r := range s.requests() {
		keys = append(keys, r.Header.Get("Idempotency-Key"))
	}
	if keys[0] == keys[1] || keys[2] != "mine" {
		t.Errorf("%q", keys)
	}
}

// The time that is waited, by a clock that only waiting moves.
func TestPushGivesUpInTime(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		after  string
		want   string
		most   int
	}{
		{"never back", 503, "", `^push to http://\S+: status 503; tried \d+ times in 30s$`, 10},
		{"asks for less", 429, "7", `^push to http://\S+: status 429; it asks to wait 7s, and \ds are left of --timeout$`, 5},
		{"asks for more than there is", 429, "31", `^push to http://\S+: status 429; it asks to wait 31s, and 30s are left of --timeout$`, 1},
		{"asks by a date", 503, "Thu, 01 Jan 2026 00:00:31 GMT", `^push to http://\S+: status 503; it asks to wait 31s, and 30s are left of --timeout$`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			attempts := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				attempts++
				w.Header().Set("Retry-After", tc.after)
				w.WriteHeader(tc.status)
			}))
			defer server.Close()
			u, err := url.Parse(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			upstream, err := gateway.New(gateway.Config{URL: u})
			if err != nil {
				t.Fatal(err)
			}
			defer upstream.Close()
			now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
			waited := time.Duration(0)
			s := &sender{
				upstream: upstream, url: server.URL, timeout: 30 * time.Second, now: func() time.Time { return now },
				wait: func(_ context.Context, d time.Duration) error { now, waited = now.Add(d), waited+d; return nil },
			}
			err = s.send(t.Context(), gateway.Request{Method: http.MethodPost, Key: wire.KeyOf(""), Header: http.Header{}})
			if err == nil || !regexp.MustCompile(tc.want).MatchString(err.Error()) {
				t.Errorf("%v", err)
			}
			if waited > 30*time.Second || attempts > tc.most {
				t.Errorf("%d attempts, waited %s", attempts, waited)
			}
		})
	}
}

func TestPushWaitsForAServerThatIsNotUpYet(t *testing.T) {
	address := gatewaytest.FreeAddress(t)
	codes := make(chan int, 1)
	var errs logtest.Buffer
	ctx := t.Context()
	go func() {
		codes <- run(ctx, []string{"push", "--url=http://" + address, "--job=x", "--gauge=a=1", "--timeout=10m"}, strings.NewReader(""), io.Discard, &errs)
	}()
	arrived := make(chan struct{}, 1)
	server := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{} })}
	defer server.Close()
	go func() { _ = server.ListenAndServe() }()
	<-arrived
	if code := <-codes; code != exitOK {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}

// series are those of a page that were pushed.
func series(t *testing.T, url string) []string {
	t.Helper()
	all, err := policy.ParseSeries(get(t, url+"/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(line string) bool { return !strings.Contains(line, `job="`) || strings.HasPrefix(line, "push") })
}

func TestPushToAPushgatewayAlone(t *testing.T) {
	u := gatewaytest.Start(t).String()
	file := write(t, "metrics.prom", "# TYPE rows_total counter\nrows_total{table=\"t\"} 7\n# HELP up no help\nup 1\n")
	push := func(args ...string) {
		t.Helper()
		if code, stdout, stderr := pushed(t, u, "", args...); code != exitOK || stdout+stderr != "" {
			t.Errorf("%v: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
	push("--job=file", file)
	push("--job=file", "--gauge=extra=0.5")
	push("--job=put", file)
	push("--job=put", "--method=put", "--gauge=extra=1")
	push("--job=inc", "--grouping=path=a/b", "--increment", file, `--counter=c{x="1"}=2`, `--counter=c{x="=2"}=3`)
	push("--job=gone", "--gauge=a=1")
	push("--job=gone", "--delete")
	want := []string{
		`c{instance="",job="inc",path="a/b",x="1"} 2`, `c{instance="",job="inc",path="a/b",x="=2"} 3`,
		`extra{instance="",job="file"} 0.5`, `extra{instance="",job="put"} 1`,
		`rows_total{instance="",job="file",table="t"} 7`, `rows_total{instance="",job="inc",path="a/b",table="t"} 7`,
		`up{instance="",job="file"} 1`, `up{instance="",job="inc",path="a/b"} 1`,
	}
	for i := range want { // as ParseSeries has them
		want[i] = strings.Replace(want[i], `instance="",`, "", 1)
	}
	// A Pushgateway carries out a DELETE in its own time.
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		diff := cmp.Diff(want, series(t, u))
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(diff)
		}
	}
}

// What is pushed with --increment is added, and an attempt more adds nothing.
func TestPushIncrementsAddUpInPushguard(t *testing.T) {
	s := start(t, gatewaytest.Start(t).String(), "--policy.file="+write(t, "policy.yml", "version: v1\ndefault: {mode: enforce}\n"))
	front := newFlaky(t, s.url)
	for range 3 {
		if code, _, stderr := pushed(t, front, "", "--job=add", "--increment", "--counter=rows_total=7"); code != exitOK {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
	}
	if diff := cmp.Diff([]string{`rows_total{job="add"} 21`}, series(t, s.url)); diff != "" {
		t.Error(diff)
	}
}

// newFlaky is a proxy that loses every second answer.
func newFlaky(t *testing.T, to string) string {
	t.Helper()
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.EscapedPath(), r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		out.Header, out.ContentLength = r.Header, r.ContentLength
		resp, err := http.DefaultTransport.RoundTrip(out)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		if n++; n%2 == 1 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(resp.StatusCode)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestPushKeepsTheCommandsCode(t *testing.T) {
	notRunnable := write(t, "not-runnable", "echo\n")
	for _, tc := range []struct {
		name    string
		flags   []string
		command []string
		status  int // of the push
		code    int
		stderr  string
	}{
		{"success", nil, []string{"true"}, 200, 0, ""},
		{"failure", nil, []string{"sh", "-c", "exit 3"}, 200, 3, ""},
		{"killed", nil, []string{"sh", "-c", "kill -KILL $$"}, 200, 128 + 9, ""},
		{"not found", nil, []string{"no-such-command"}, 200, 127, `exec: "no-such-command": executable file not found in $PATH`},
		{"no such path", nil, []string{"/no/such/command"}, 200, 127, "no such file or directory"},
		{"not runnable", nil, []string{notRunnable}, 200, 126, "permission denied"},
		{"with -- of its own", nil, []string{"sh", "-c", `[ "$1" = -- ] && exit 5`, "sh", "--"}, 200, 5, ""},
		{"the push fails", nil, []string{"true"}, 400, 0, "status 400"},
		{"both fail", nil, []string{"false"}, 400, 1, "status 400"},
		{"the push fails, and that matters", []string{"--fail-on-push"}, []string{"true"}, 400, 1, "status 400"},
		{"both fail, and that matters", []string{"--fail-on-push"}, []string{"sh", "-c", "exit 9"}, 400, 9, "status 400"},
		{"nothing fails where it would matter", []string{"--fail-on-push"}, []string{"true"}, 200, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScripted(t, tc.status)
			args := slices.Concat([]string{"--job=x"}, tc.flags, []string{"--"}, tc.command)
			code, stdout, stderr := pushed(t, s.URL, "", args...)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.stderr) || tc.stderr == "" && stderr != "" {
				t.Errorf("exit code %d, want %d; %q, %q", code, tc.code, stdout, stderr)
			}
			if len(s.requests()) != 1 {
				t.Errorf("%d pushes", len(s.requests()))
			}
		})
	}
}

func TestPushOfACommandSpeaksForIt(t *testing.T) {
	code, stdout, stderr := pushed(t, newScripted(t, 200).URL, "in", "--job=x", "--", "sh", "-c", "cat; echo err >&2")
	if code != exitOK || stdout != "in" || stderr != "err\n" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// What a command did is on the page, and a run that fails leaves the last success.
func TestPushTellsOfTheCommand(t *testing.T) {
	u := gatewaytest.Start(t).String()
	file := filepath.Join(t.TempDir(), "metrics.prom")
	for _, script := range []string{"echo rows 7 >" + file, "echo rows 8 >" + file + "; exit 4"} {
		pushed(t, u, "", "--job=x", file, "--", "sh", "-c", script)
	}
	valueless := regexp.MustCompile(` [0-9.e+-]+$`)
	got := map[string]string{}
	for _, line := range series(t, u) {
		got[valueless.ReplaceAllString(line, "")] = strings.TrimSpace(valueless.FindString(line))
	}
	if got[`rows{job="x"}`] != "8" || got[`job_exit_code{job="x"}`] != "4" {
		t.Errorf("%v", got)
	}
	var began, succeeded float64
	for name, to := range map[string]*float64{startName: &began, successName: &succeeded} {
		if err := scanNumber(got[name+`{job="x"}`], to); err != nil {
			t.Fatal(name, err, got)
		}
	}
	if now := unixSeconds(time.Now()); succeeded > began || began > now || now-succeeded > 600 {
		t.Errorf("began %f, succeeded %f, now %f", began, succeeded, now)
	}
	if got[durationName+`{job="x"}`] == "" || len(got) != 5 {
		t.Errorf("%v", got)
	}
}

// A file that is missing or broken does not keep silent what became of the command.
func TestPushTellsOfTheCommandWithoutItsFile(t *testing.T) {
	for _, file := range []string{"/no/such/file", write(t, "bad.prom", "a 1\nb{\n"), write(t, "twice.prom", "job_exit_code 1\n")} {
		s := newScripted(t, 200)
		code, _, stderr := pushed(t, s.URL, "", "--job=x", "--fail-on-push", file, "--", "true")
		if code != exitFailure || !strings.HasPrefix(stderr, "pushguard: ") {
			t.Errorf("%s: exit code %d, %q", file, code, stderr)
		}
		if len(s.requests()) != 1 || !strings.Contains(s.bodies[0], successName) {
			t.Errorf("%s: %q", file, s.bodies)
		}
	}
}

// A signal is the command's to answer.
func TestPushPassesSignalsOn(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newScripted(t, 200)
			cmd := exec.Command("pushguard", "push", "--url="+s.URL, "--job=x", "--",
				"sh", "-c", "trap 'exit 7' TERM INT HUP USR1; echo ready; while :; do sleep 0.05; done")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // on no terminal
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if _, err := out.Read(make([]byte, 6)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			var ended *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 7 || len(s.requests()) != 1 {
				t.Errorf("%v, %d pushes", err, len(s.requests()))
			}
		})
	}
}

func TestPushSaysWhoPushes(t *testing.T) {
	password, token := write(t, "password", "secret\n"), write(t, "token", "abc\n")
	const basic = "Basic dTpzZWNyZXQ=" // u:secret
	for _, tc := range []struct {
		name string
		env  map[string]string
		user string // in the URL
		args []string
		want string
	}{
		{"nobody", nil, "", nil, ""},
		{"a user and a file", nil, "", []string{"--user=u", "--password-file=" + password}, basic},
		{"a user and the environment", map[string]string{"USER": "u", "PASSWORD": "secret"}, "", nil, basic},
		{"in the URL", nil, "u:secret@", nil, basic},
		{"a token", nil, "", []string{"--bearer-token-file=" + token}, "Bearer abc"},
		{"a token of the environment", map[string]string{"TOKEN": "xyz"}, "", nil, "Bearer xyz"},
		{"in a file of Prometheus' HTTP configuration", nil, "", []string{"--config.file=" + write(t, "c.yml", "basic_auth: {username: u, password: secret}\n")}, basic},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for name, value := range tc.env {
				t.Setenv("PUSHGUARD_"+name, value)
			}
			s := newScripted(t, 400)
			_, _, stderr := pushed(t, strings.Replace(s.URL, "://", "://"+tc.user, 1), "a 1\n", append([]string{"--job=x"}, tc.args...)...)
			if got := s.requests()[0].Header.Get("Authorization"); got != tc.want {
				t.Errorf("Authorization %q, want %q", got, tc.want)
			}
			if strings.Contains(stderr, "secret") {
				t.Errorf("stderr has the password: %s", stderr)
			}
		})
	}
}

func TestPushRefusesBeforeItRuns(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	bad, empty := write(t, "bad.prom", "a 1\nb{\n"), write(t, "empty", "\n")
	for _, tc := range []struct {
		name string
		code int
		args []string
		want string
	}{
		{"no job", 2, []string{"--gauge=a=1"}, "--job is required"},
		{"nothing", 2, []string{"--job=x"}, "nothing to push: "},
		{"no command", 2, []string{"--job=x", "--"}, "--: want a command to run after it"},
		{"a metric of the command", 2, []string{"--job=x", "--gauge=job_exit_code=3", "--", "true"}, "--gauge: job_exit_code is pushed of the command itself: leave it out, try --help\n"},
		{"another of the command", 2, []string{"--job=x", "--counter=job_last_success_unixtime=3", "--", "false"}, "--counter: job_last_success_unixtime is pushed of the command itself: leave it out, try --help\n"},
		{"two files", 2, []string{"--job=x", "a", "b"}, `"b": want one file; a command comes after --`},
		{"a file that is none", 1, []string{"--job=x", "/no/such/file"}, "open /no/such/file: "},
		{"a file that is no text format", 1, []string{"--job=x", bad}, bad + ": text format parsing error in line 2"},
		{"a file of Windows", 1, []string{"--job=x", write(t, "windows.prom", "a 1\r\n")}, "lines end in LF"},
		{"delete and metrics", 2, []string{"--job=x", "--delete", "--gauge=a=1"}, "--delete pushes nothing"},
		{"a gauge without a value", 2, []string{"--job=x", "--gauge=a"}, `--gauge="a": want a series and its value`},
		{"a gauge without a number", 2, []string{"--job=x", "--gauge=a=b"}, `--gauge="a=b": want a series and its value`},
		{"a gauge with a timestamp", 2, []string{"--job=x", "--gauge=a=1 1000"}, `--gauge="a=1 1000": want`},
		{"a gauge with a line more", 2, []string{"--job=x", "--gauge=a=1\nb 2"}, "want a series and its value"},
		{"a gauge without a name", 2, []string{"--job=x", "--gauge=1a=1"}, `"1a" is no name of a metric`},
		{"a gauge that is a counter", 2, []string{"--job=x", "--gauge=a=1", "--counter=a=1"}, `--counter="a=1": a is a gauge, too`},
		{"a password that is not there", 2, []string{"--job=x", "--gauge=a=1", "--user=u", "--password-file=/no/such"}, "--password-file: open /no/such: "},
		{"a token that is empty", 2, []string{"--job=x", "--gauge=a=1", "--bearer-token-file=" + empty}, "--bearer-token-file: the file is empty"},
		{"--fail-on-push alone", 2, []string{"--job=x", "--gauge=a=1", "--fail-on-push"}, "--fail-on-push is for commands"},
		{"a wrong flag before a command", 2, []string{"--job=x", "--gauge=a", "--", "touch", ran}, `--gauge="a": want`},
		{"a label twice", 2, []string{"--job=x", "--grouping=a=", "--grouping=a=2", "--gauge=b=1"}, `--grouping="a=2": the label "a" is there twice, try --help`},
		{"the job as a label", 2, []string{"--job=x", "--grouping=job=y", "--gauge=b=1"}, `--grouping="job=y": the job is --job, try --help`},
		{"a wrong grouping before a command", 2, []string{"--job=x", "--grouping=a", "--", "touch", ran}, `--grouping="a": want name=value`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newScripted(t, 200)
			code, stdout, stderr := pushed(t, s.URL, "", tc.args...)
			if code != tc.code || stdout != "" || !strings.HasPrefix(stderr, "pushguard: ") || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, want %d; %q, %q", code, tc.code, stdout, stderr)
			}
			if len(s.requests()) != 0 {
				t.Error("it pushed")
			}
		})
	}
	if code, _, stderr := pushed(t, "gateway", "", "--job=x", "--", "touch", ran); code != exitUsage || !strings.HasPrefix(stderr, `pushguard: --url="gateway": want an absolute URL`) {
		t.Errorf("a URL that is none: exit code %d, %q", code, stderr)
	}
	if code, _, stderr := command(t, "--", "push", "--job=x", "touch", ran); code != exitUsage {
		t.Errorf("push after --: exit code %d, %q", code, stderr)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command was run")
	}
}

// What a flag can say is one series, whatever is written there.
func FuzzParseSeriesFlag(f *testing.F) {
	for _, seed := range []string{"a=1", `rows{table="t",x="a=b"}=7`, "a{=1", "a=1 1", "a=b=1", `a{b="}"}=NaN`, "=1", "a =1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		families, err := flagFamilies([]string{text}, nil)
		if err != nil {
			return
		}
		if len(families) != 1 {
			t.Errorf("%q: %d families", text, len(families))
		}
		if _, _, err := encode(families); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func scanNumber(text string, to *float64) (err error) {
	*to, err = strconv.ParseFloat(text, 64)
	return err
}
