package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// server is a pushguard that serves inside the test.
type server struct {
	url  string
	log  *serverLog
	stop context.CancelFunc
	code chan int
}

// serverLog is what it logs.
type serverLog struct{ logtest.Buffer }

// await waits for the log to match and returns the submatches.
func (b *serverLog) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	for range 12_000 {
		if m := re.FindStringSubmatch(b.String()); m != nil {
			return m
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the log never matched %s:\n%s", pattern, b)
	return nil
}

// start serves in front of upstream until the test ends at the latest.
func start(t *testing.T, upstream string, flags ...string) *server {
	t.Helper()
	args := append([]string{"serve", "--web.listen-address=127.0.0.1:0", "--pushgateway.url=" + upstream}, flags...)
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--policy.file=") }) {
		args = append(args, "--policy.file="+write(t, "policy.yml", goodPolicy))
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &server{log: &serverLog{}, stop: stop, code: make(chan int, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.code <- run(ctx, args, strings.NewReader(""), io.Discard, s.log)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	s.url = "http://" + s.log.await(t, `msg=Serving address=(\S+)|^pushguard: `)[1]
	if s.url == "http://" {
		t.Fatalf("pushguard did not start:\n%s", s.log)
	}
	return s
}

// exit waits for the exit code.
func (s *server) exit(t *testing.T) int {
	t.Helper()
	select {
	case code := <-s.code:
		return code
	case <-time.After(2 * time.Minute):
		t.Fatalf("still serving:\n%s", s.log)
		return -1
	}
}

// push sends one push and returns its status, 0 if there was none.
func (s *server) push(body string) int {
	resp, err := http.Post(s.url+"/metrics/job/nightly", "text/plain", strings.NewReader(body))
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// awaitRefused waits until nobody listens at url any more.
func awaitRefused(t *testing.T, url string) {
	t.Helper()
	for range 12_000 {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s still accepts connections", url)
}

// awaitPush waits until slowUpstream holds a push.
func awaitPush(t *testing.T, arrived <-chan struct{}) {
	t.Helper()
	select {
	case <-arrived:
	case <-time.After(2 * time.Minute):
		t.Fatal("no push reached the upstream")
	}
}

// slowUpstream takes a push and answers 200 when released. arrived tells of
// each push that is waiting.
func slowUpstream(t *testing.T) (url string, arrived <-chan struct{}, release func()) {
	t.Helper()
	waiting, released := make(chan struct{}, 1), make(chan struct{})
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
			return
		}
		waiting <- struct{}{}
		<-released
	}))
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(func() {
		release()
		upstream.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return upstream.URL, waiting, release
}

func TestSIGTERMFinishesWhatIsInFlight(t *testing.T) {
	t.Cleanup(func() { leaktest.None(t) })
	// Without pushguard's own handler, this one keeps the signal from ending the test.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM)
	defer signal.Stop(caught)

	upstream, arrived, release := slowUpstream(t)
	s := start(t, upstream)
	status := make(chan int, 1)
	go func() { status <- s.push("a 1\n") }()
	awaitPush(t, arrived)

	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	awaitRefused(t, s.url)
	select {
	case got := <-status:
		t.Errorf("the push in flight ended before its upstream answered: %d", got)
	case code := <-s.code:
		t.Errorf("exit with a push in flight: %d", code)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if got := <-status; got != http.StatusOK {
		t.Errorf("the push in flight got %d, want 200", got)
	}
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.log)
	}
}

func TestShutdownTimeout(t *testing.T) {
	upstream, arrived, _ := slowUpstream(t)
	s := start(t, upstream, "--shutdown.timeout=50ms")
	status := make(chan int, 1)
	go func() { status <- s.push("a 1\n") }()
	awaitPush(t, arrived)
	s.stop()
	if code := s.exit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	s.log.await(t, `(?m)^pushguard: requests in flight were cut off after --shutdown.timeout=50ms$`)
	if got := <-status; got != 0 {
		t.Errorf("the push in flight got %d, want no answer", got)
	}
}

func TestClientsThatStallAreCutOff(t *testing.T) {
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	s := start(t, upstream.URL, "--web.read-header-timeout=100ms", "--web.read-timeout=200ms", "--web.idle-timeout=100ms")

	for _, tc := range []struct{ name, sent string }{
		{"in the headers", "POST /metrics/job/a HTTP/1.1\r\nHost:"},
		{"in the body", "POST /metrics/job/a HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\na 1\n"},
		{"after a request", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, tc.sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still open")
			}
		})
	}
}

func TestAuditFile(t *testing.T) {
	upstream, _, release := slowUpstream(t)
	release()
	file := filepath.Join(t.TempDir(), "audit.jsonl")
	s := start(t, upstream, "--audit.file="+file, "--audit.all")
	if got := s.push("a 1\n"); got != http.StatusOK {
		t.Errorf("the push got %d, want 200", got)
	}
	s.stop()
	s.exit(t)
	log, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.SplitAfter(string(log), "\n"); len(lines) != 2 || !strings.Contains(lines[0], `"job":"nightly"`) {
		t.Errorf("want one line about the job nightly, got:\n%s", log)
	}
}

func TestRoutePrefix(t *testing.T) {
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	s := start(t, upstream.URL, "--web.route-prefix=team/push/")
	if body := get(t, s.url+"/team/push/guard/metrics"); !strings.Contains(body, "\npushguard_build_info{") {
		t.Errorf("no build info at PREFIX/guard/metrics:\n%.500s", body)
	}
}

func TestWebConfigFile(t *testing.T) {
	upstream := httptest.NewServer(http.NotFoundHandler())
	defer upstream.Close()
	// The bcrypt of "secret", at the least cost.
	config := "basic_auth_users: {ops: $2a$04$c44l.nO91u0YjcIp8BnR1eLBXAeU.kwd84iKVsCPjLYQXFgJIXU0C}\n"
	s := start(t, upstream.URL, "--web.config.file="+write(t, "web.yml", config))
	if got := s.push("a 1\n"); got != http.StatusUnauthorized {
		t.Errorf("a push without a password got %d, want 401", got)
	}
}

// reloads is what the metrics say of the policy, without its time.
func reloads(t *testing.T, url string) string {
	t.Helper()
	all := regexp.MustCompile(`(?m)^pushguard_policy_(?:info|last_reload_successful).*`).FindAllString(get(t, url+"/guard/metrics"), -1)
	return strings.Join(all, "\n")
}

func TestSIGHUPReadsThePolicyAgain(t *testing.T) {
	t.Cleanup(func() { leaktest.None(t) })
	upstream, _, release := slowUpstream(t)
	release()
	file := write(t, "policy.yml", goodPolicy)
	s := start(t, upstream, "--web.enable-lifecycle", "--policy.file="+file)
	before := reloads(t, s.url)
	hangUp := func(content, logged string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		s.log.await(t, logged)
		return reloads(t, s.url)
	}
	if diff := cmp.Diff(strings.Replace(before, "successful 1", "successful 0", 1), hangUp("version: v2\n", `:1:10: unknown version`)); diff != "" {
		t.Errorf("after a file with a fault:\n%s", diff)
	}
	after := hangUp("version: v1\n", `msg="The policy was read again" digest=(\w+) before=\w+`)
	if after == before || !strings.Contains(after, "successful 1") || strings.Count(after, "\n") != 1 {
		t.Errorf("after a good file:\n%s\nbefore:\n%s", after, before)
	}
	s.stop()
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.log)
	}
}

func TestAdminAddress(t *testing.T) {
	t.Cleanup(func() { leaktest.None(t) })
	upstream, arrived, release := slowUpstream(t)
	s := start(t, upstream, "--admin.listen-address=127.0.0.1:0", "--shutdown.timeout=2m")
	admin := "http://" + s.log.await(t, `msg="Serving the admin" address=(\S+)`)[1]
	if body := get(t, admin+"/guard/metrics"); !strings.Contains(body, "\npushguard_build_info{") {
		t.Errorf("no metrics at the admin address:\n%.500s", body)
	}
	if body := get(t, s.url+"/guard/metrics"); body != "404 page not found\n" {
		t.Errorf("the push address serves /guard/metrics:\n%.500s", body)
	}
	runbooks, err := os.ReadFile(filepath.Join("..", "..", "docs", "runbooks.md"))
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile("(GUARD|PUSH)(/[^\\s`]*)").FindAllStringSubmatch(string(runbooks), -1)
	for _, m := range asked {
		if body := get(t, map[string]string{"GUARD": admin, "PUSH": s.url}[m[1]]+m[2]); body == "404 page not found\n" {
			t.Errorf("docs/runbooks.md: %s is not there", m[0])
		}
	}
	if len(asked) < 5 {
		t.Errorf("docs/runbooks.md asks a guard %d times: %v", len(asked), asked)
	}
	status := make(chan int, 1)
	go func() { status <- s.push("a 1\n") }()
	awaitPush(t, arrived)
	s.stop()
	awaitRefused(t, s.url)
	release()
	if got := <-status; got != http.StatusOK {
		t.Errorf("the push in flight got %d, want 200", got)
	}
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d, want 0:\n%s", code, s.log)
	}
	awaitRefused(t, admin)
}

// TestConnectionsToTheAdmin has a client keep more connections open than there may be.
func TestConnectionsToTheAdmin(t *testing.T) {
	upstream, _, _ := slowUpstream(t)
	s := start(t, upstream, "--admin.listen-address=127.0.0.1:0", "--limits.connections=4", "--web.read-header-timeout=1h", "--web.read-timeout=1h")
	address := s.log.await(t, `msg="Serving the admin" address=(\S+)`)[1]
	ended := make(chan struct{}, 8)
	for range cap(ended) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go func() {
			_, _ = io.Copy(io.Discard, conn)
			ended <- struct{}{}
		}()
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Errorf("all of %d connections are open", cap(ended))
	}
}

func TestAdminAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	code, _, stderr := command(t, "serve", "--log.level=error", "--web.listen-address=127.0.0.1:0", "--admin.listen-address="+taken.Addr().String(),
		"--pushgateway.url=http://127.0.0.1:1", "--policy.file="+write(t, "policy.yml", goodPolicy))
	if code != 1 || !strings.HasSuffix(stderr, "bind: address already in use\n") {
		t.Errorf("exit code %d and %q", code, stderr)
	}
}

// A guard says once where the flags of the Pushgateway behind do not go with its own.
func TestFlagsUnlikeTheUpstreams(t *testing.T) {
	const (
		names     = "push.enable-utf8-names"
		unchecked = "push.disable-consistency-check"

		otherNames  = "--push.enable-utf8-names is not what the Pushgateway behind has"
		neitherDoes = "a push that contradicts another breaks its scrape"
		bothDo      = "The Pushgateway behind checks every push itself"
	)
	for _, tc := range []struct {
		name, flag, upstream string
		flags                []string
		warning              string
	}{
		{"both have UTF-8 names", names, "true", []string{"--push.enable-utf8-names"}, ""},
		{"neither has", names, "false", nil, ""},
		{"only the upstream has", names, "true", nil, otherNames},
		{"only the guard has", names, "false", []string{"--push.enable-utf8-names"}, otherNames},
		{"the guard checks", unchecked, "true", []string{"--pushgateway.unchecked"}, ""},
		{"the upstream checks", unchecked, "false", nil, ""},
		{"neither checks", unchecked, "true", nil, neitherDoes},
		{"of several, one does not check", unchecked, "true", []string{"--pushgateway.url=http://127.0.0.1:1"}, ""},
		{"both check", unchecked, "false", []string{"--pushgateway.unchecked"}, bothDo},
	} {
		t.Run(tc.name, func(t *testing.T) {
			asked := make(chan struct{}, 1)
			upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"status":"success","data":{"flags":{%q:%q}}}`, tc.flag, tc.upstream)
				select {
				case asked <- struct{}{}:
				default: // it is asked for more than this
				}
			}))
			defer upstream.Close()
			s := start(t, upstream.URL, tc.flags...)
			<-asked
			if tc.warning != "" {
				s.log.await(t, tc.warning)
			}
			s.stop()
			s.exit(t)
			for _, warning := range []string{otherNames, neitherDoes, bothDo} {
				if n := strings.Count(s.log.String(), warning); n > 1 || (n == 1) != (warning == tc.warning) {
					t.Errorf("warned %d times: %s\n%s", n, warning, s.log)
				}
			}
		})
	}
}

// get returns the body of a page.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
