package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestTermination sends SIGTERM while a push is half sent: the push is finished
// and answered, new ones are not taken, and the guard exits 0.
func TestTermination(t *testing.T) {
	t.Parallel()
	for _, framing := range []string{"content-length", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			t.Parallel()
			behind := world.Pushgateway(t)
			guard := world.Guard(t, world.GuardOptions{Upstream: behind})
			request := world.Request{Target: "/metrics/job/last", Body: strings.Repeat("# filler\n", 1000) + onePush, Chunked: framing == "chunked"}
			raw := request.Bytes(guard.Addr)
			c := guard.Dial(t)
			c.Write(raw[:len(raw)/2])
			world.Eventually(t, func() error { // it has seen the headers
				if own(t, guard, "pushguard_in_flight_bytes") == 0 {
					return errors.New("the guard does not know of the push yet")
				}
				return nil
			})
			guard.Signal(t)
			world.Eventually(t, func() error {
				if conn, err := net.Dial("tcp", guard.Addr); err == nil {
					conn.Close()
					return errors.New("it still takes connections after SIGTERM")
				}
				return nil
			})
			c.Write(raw[len(raw)/2:])
			if got := c.Read(http.MethodPost); got.Status != http.StatusOK {
				t.Errorf("the push in flight: %d %q", got.Status, got.Body)
			}
			if code, err := guard.Wait(); err != nil || code != 0 {
				t.Errorf("exit %d, %v, want 0", code, err)
			}
			if _, found := behind.State(t).Group(map[string]string{"job": "last"}); !found {
				t.Error("the push in flight did not arrive")
			}
		})
	}
}

// TestUpstreamDown checks what a client is told while the Pushgateway is away,
// and that the guard needs no restart when it is back.
func TestUpstreamDown(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Upstream: behind})
	mustPush(t, guard, seedPath, seedBody)
	behind.Stop(t)
	for _, r := range []world.Request{post(seedPath, seedBody), method("DELETE", seedPath), method("GET", "/metrics")} {
		if got := guard.Send(t, r); got.Status != http.StatusBadGateway || strings.TrimSpace(got.Body) == "" {
			t.Errorf("%s without a Pushgateway: %d %q, want 502 with a reason", r.Method, got.Status, got.Body)
		}
	}
	if got := guard.Get(t, "/-/ready"); got.Status == http.StatusOK {
		t.Errorf("ready without a Pushgateway: %d", got.Status)
	}
	behind = behind.Again(t)
	mustPush(t, guard, seedPath, seedBody)
	holdHealthy(t, guard, behind)
}

// outcome is how a run of the command line ended.
type outcome struct {
	code           int
	stdout, stderr string
}

// command runs the binary to its end; a run that serves instead fails the test.
func command(t *testing.T, args ...string) outcome {
	t.Helper()
	cmd := exec.Command(world.Binary(t), args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	const patience = 2 * time.Minute
	timer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if !cmd.ProcessState.Exited() {
		t.Fatalf("pushguard %s still runs after %s:\n%s", strings.Join(args, " "), patience, stderr.String())
	}
	return outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// faultyPolicy has four faults, on lines 2, 4, 6 and 7.
const faultyPolicy = `version: v1
defualt: {mode: open}
default:
  mode: enforced
  rules:
  - {id: a, labels: ["["], action: drop}
  - {id: b, labels: [x], action: erase}
`

// TestCommandLine checks what a person is told who gets it wrong.
func TestCommandLine(t *testing.T) {
	t.Parallel()
	open := world.Write(t, "open.yml", world.OpenPolicy)
	faulty := world.Write(t, "faulty.yml", faultyPolicy)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	serve := func(args ...string) []string {
		return append([]string{"serve", "--web.listen-address=127.0.0.1:0"}, args...)
	}
	const gateway = "--pushgateway.url=http://127.0.0.1:9"
	for _, c := range []struct {
		name  string
		args  []string
		code  int
		lines []string // a pattern for each line of stderr
	}{
		{"unknown flag", serve("--nope"), 2, []string{`--nope`}},
		{"unknown command", []string{"srve"}, 2, []string{`srve`}},
		{"a URL that is none", serve("--pushgateway.url=::", "--policy.file="+open), 2, []string{`--pushgateway.url`}},
		{"a URL without a scheme", serve("--pushgateway.url=127.0.0.1:9091", "--policy.file="+open), 2, []string{`--pushgateway.url`}},
		{"a limit that is none", serve(gateway, "--policy.file="+open, "--limits.samples=many"), 2, []string{`many`}},
		{"a log level that is none", serve(gateway, "--policy.file="+open, "--log.level=loud"), 2, []string{`loud`}},
		{"a policy that is not there", serve(gateway, "--policy.file=/none/policy.yml"), 2, []string{`/none/policy.yml`}},
		{"a policy with faults, each with its place", serve(gateway, "--policy.file="+faulty), 2, []string{
			`faulty\.yml:2:\d+: .*defualt`, `faulty\.yml:4:\d+: .*enforced`, `faulty\.yml:6:\d+: .*\[`, `faulty\.yml:7:\d+: .*erase`,
		}},
		{"an address in use", []string{"serve", "--web.listen-address=" + taken.Addr().String(), gateway, "--policy.file=" + open}, 1, []string{`address already in use`}},
		{"an audit file that cannot be", serve(gateway, "--policy.file="+open, "--audit.file=/none/audit.jsonl"), 2, []string{`/none/audit.jsonl`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := command(t, c.args...)
			if got.code != c.code {
				t.Errorf("exit %d, want %d", got.code, c.code)
			}
			lines := faultLines(got.stderr)
			if len(lines) != len(c.lines) {
				t.Fatalf("%d lines, want %d:\n%s", len(lines), len(c.lines), got.stderr)
			}
			for i, want := range c.lines {
				if !regexp.MustCompile(want).MatchString(lines[i]) {
					t.Errorf("line %d: %q, want %s", i+1, lines[i], want)
				}
			}
			if got.stdout != "" {
				t.Errorf("stdout: %q", got.stdout)
			}
		})
	}
}

// faultLines are the lines of stderr that are not the log, which a server may
// have begun before it met its fault.
func faultLines(stderr string) []string {
	lines := []string{}
	for line := range strings.Lines(stderr) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// TestHelp checks that one -h shows the whole surface.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-h"}, {"--help"}, {"serve", "-h"}} {
		got := command(t, args...)
		if got.code != 0 || got.stderr != "" {
			t.Errorf("%v: exit %d, stderr %q", args, got.code, got.stderr)
		}
		for _, flag := range []string{
			"web.listen-address", "web.config.file", "web.route-prefix", "web.enable-admin-api", "pushgateway.url", "policy.file",
			"audit.file", "audit.all", "audit.max-size", "audit.max-age", "audit.retention.size", "audit.retention.time", "audit.retention.files",
			"push.enable-utf8-names", "limits.body-bytes", "limits.decoded-bytes", "limits.samples",
			"limits.labels", "limits.label-value-bytes", "log.level", "log.format", "version",
		} {
			if !regexp.MustCompile(`--(\[no-\])?` + regexp.QuoteMeta(flag) + `\b`).MatchString(got.stdout) {
				t.Errorf("%v does not show %s", args, flag)
			}
		}
	}
	if got := command(t, "--version"); got.code != 0 || !strings.HasPrefix(got.stdout, "pushguard, version ") {
		t.Errorf("--version: exit %d, %q", got.code, got.stdout)
	}
}
