package world

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// Process is a server that was started for one test and answers on Addr.
type Process struct {
	Name string
	Addr string // host:port
	URL  string // http://host:port and the route prefix, without a final slash

	cmd  *exec.Cmd
	args []string // without the address
	logs *logtest.Buffer
	done chan struct{} // closed when the process has ended
	once sync.Once
}

// GuardOptions say how a guard is to be started. Everything but Upstream may be
// left out.
type GuardOptions struct {
	Upstream *Process // the Pushgateway behind; nil: the guard's own store
	Policy   string   // the path of a policy file; empty is the open one
	Audit    string   // the path of the audit log; empty is none
	Prefix   string   // --web.route-prefix
	Addr     string   // host:port to listen on; empty is a free port
	Memory   *Memory  // how much it may hold; nil is what there is
	Files    int      // how many it may have open; 0 is as many as the test
	Flags    []string // more flags, as written on a command line
}

// OpenPolicy permits everything.
const OpenPolicy = "version: v1\ndefault: {mode: open}\n"

// Guard starts pushguard and waits until it is ready.
func Guard(t testing.TB, o GuardOptions) *Process {
	t.Helper()
	path, args := o.Memory.command(Binary(t), o.args(t))
	if o.Files > 0 {
		path, args = "/bin/sh", append([]string{"-c", `ulimit -n "$0" && exec "$@"`, strconv.Itoa(o.Files), path}, args...)
	}
	return start(t, "pushguard", path, o.Addr, o.Prefix, args)
}

// KilledStart starts pushguard and kills it after a time, ready or not.
func KilledStart(t testing.TB, o GuardOptions, after time.Duration) {
	t.Helper()
	p := launch(t, "pushguard", Binary(t), o.Addr, o.Prefix, o.args(t))
	time.Sleep(after)
	p.Kill()
}

// args are those of a command line, but for the address.
func (o GuardOptions) args(t testing.TB) []string {
	t.Helper()
	if o.Policy == "" {
		o.Policy = Write(t, "policy.yml", OpenPolicy)
	}
	args := []string{"serve", "--policy.file=" + o.Policy}
	if o.Upstream != nil {
		args = append(args, "--pushgateway.url="+o.Upstream.URL)
	}
	if o.Audit != "" {
		args = append(args, "--audit.file="+o.Audit)
	}
	if o.Prefix != "" {
		args = append(args, "--web.route-prefix="+o.Prefix)
	}
	return append(args, o.Flags...)
}

// Pushgateway starts Debian's Pushgateway, empty and without a file.
func Pushgateway(t testing.TB, flags ...string) *Process {
	t.Helper()
	Need(t, PushgatewayPath)
	prefix := ""
	for _, f := range flags {
		if p, found := strings.CutPrefix(f, "--web.route-prefix="); found {
			prefix = p
		}
	}
	return start(t, "pushgateway", PushgatewayPath, "", prefix, append([]string{"--persistence.file="}, flags...))
}

// Again starts a Pushgateway at the address of one that has been stopped, empty.
func (p *Process) Again(t testing.TB) *Process {
	t.Helper()
	return start(t, p.Name, PushgatewayPath, p.Addr, "", []string{"--persistence.file="})
}

// Persistent starts a Pushgateway that writes down what it holds, ten times a second.
func Persistent(t testing.TB) *Process {
	t.Helper()
	Need(t, PushgatewayPath)
	return start(t, "pushgateway", PushgatewayPath, "", "", []string{
		"--persistence.file=" + filepath.Join(t.TempDir(), "persisted"), "--persistence.interval=100ms",
	})
}

// Back starts a server that has ended as it was started before, where it was.
func (p *Process) Back(t testing.TB) *Process {
	t.Helper()
	return start(t, p.Name, p.cmd.Path, p.Addr, strings.TrimPrefix(p.URL, "http://"+p.Addr), p.args)
}

// Prometheus starts a Prometheus of the given configuration.
func Prometheus(t testing.TB, config string, flags ...string) *Process {
	t.Helper()
	Need(t, PrometheusPath)
	return start(t, "prometheus", PrometheusPath, "", "", append([]string{
		"--config.file=" + Write(t, "prometheus.yml", config),
		"--storage.tsdb.path=" + t.TempDir(),
	}, flags...))
}

// start runs a server, waits for its /-/ready and promises to stop it. Between
// choosing a port and the server's taking it another process may come first:
// a server that ends by itself is given other ports, three times at most.
func start(t testing.TB, name, path, addr, prefix string, args []string) *Process {
	t.Helper()
	var p *Process
	for range 3 {
		p = launch(t, name, path, addr, prefix, args)
		if p.ready() {
			t.Cleanup(func() { p.end(t) })
			return p
		}
		p.Kill()
		if addr != "" || !strings.Contains(p.Logs(), "address already in use") {
			break
		}
	}
	t.Fatalf("%s did not become ready:\n%s", name, p.Logs())
	return nil
}

func launch(t testing.TB, name, path, addr, prefix string, args []string) *Process {
	t.Helper()
	if addr == "" {
		addr = gatewaytest.FreeAddress(t)
	}
	p := &Process{Name: name, Addr: addr, URL: "http://" + addr + prefix, args: args, logs: &logtest.Buffer{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, append(args, "--web.listen-address="+addr)...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	// A test process that is killed must not leave servers behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the state is read from cmd.ProcessState
	}()
	return p
}

// ready reports whether the server answers 200 to /-/ready before it ends or
// patience is over.
func (p *Process) ready() bool {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it is only asked whether it is there
	}}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if resp, err := client.Get(p.URL + "/-/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-p.done:
			return false
		case <-time.After(10 * time.Millisecond):
		}
	}
	return false
}

// Logs is everything the process has written so far.
func (p *Process) Logs() string { return p.logs.String() }

// Signal sends SIGTERM and returns at once.
func (p *Process) Signal(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("%s: SIGTERM: %v", p.Name, err)
	}
}

// HangUp sends SIGHUP and returns at once.
func (p *Process) HangUp(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatalf("%s: SIGHUP: %v", p.Name, err)
	}
}

// Kill ends the process at once, as a power cut would.
func (p *Process) Kill() {
	p.once.Do(func() {}) // its end is no longer held to be orderly
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop sends SIGTERM, and fails the test unless the process then exits 0.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	p.once.Do(func() {
		if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("%s: SIGTERM: %v", p.Name, err)
		}
		if code, err := p.Wait(); err != nil || code != 0 {
			t.Errorf("%s: exit %d, %v, want exit 0", p.Name, code, err)
		}
	})
}

// Wait waits for the process to end and returns its exit code.
func (p *Process) Wait() (int, error) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return -1, fmt.Errorf("%s is still running after %s", p.Name, patience)
	}
}

func (p *Process) end(t testing.TB) {
	p.Stop(t)
	if logs := p.Logs(); strings.Contains(logs, "WARNING: DATA RACE") || strings.Contains(logs, "panic:") {
		t.Errorf("%s: a data race or a panic", p.Name)
	}
	if t.Failed() {
		t.Logf("%s at %s wrote:\n%s", p.Name, p.Addr, tail(p.Logs(), 8<<10))
	}
}

func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return "…" + s[len(s)-n:]
}

// PeakMemory is the most memory the process held since it began, in bytes (VmHWM).
func (p *Process) PeakMemory(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatal("/proc says nothing of VmHWM")
	return 0
}

// Descriptors is how many files and sockets the process has open.
func (p *Process) Descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}
