package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	pushgateway = "prometheus-pushgateway"
	product     = "github.com/pushguard/pushguard/cmd/pushguard"
	versionVar  = "github.com/prometheus/common/version.Version"
	patience    = 20 * time.Second // for a start and for an end
)

// build builds pushguard into dir.
func build(ctx context.Context, dir string) (string, error) {
	version, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		version = []byte("unknown")
	}
	path := filepath.Join(dir, "pushguard")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath",
		"-ldflags", "-s -w -X "+versionVar+"="+strings.TrimSpace(string(version)), "-o", path, product)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", product, err, out)
	}
	return path, nil
}

// process is a server that answers on url.
type process struct {
	name string
	url  string // without a final slash
	cmd  *exec.Cmd
	logs *bytes.Buffer // not read before done
	done chan struct{} // closed when the process has ended
}

// start runs a server on a free port of 127.0.0.1 and waits until it is ready.
func start(ctx context.Context, name, path string, args ...string) (*process, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	p := &process{name: name, url: "http://" + address, logs: new(bytes.Buffer), done: make(chan struct{})}
	p.cmd = exec.Command(path, append(args, "--web.listen-address="+address)...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	if err := p.ready(ctx); err != nil {
		p.stop()
		return nil, fmt.Errorf("%s is not ready: %w\n%s", name, err, p.logs)
	}
	return p, nil
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		if p.answersReady(ctx, &client) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return errors.New("it ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *process) answersReady(ctx context.Context, client *http.Client) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/-/ready", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// stop ends the process, by force if it does not end when it is asked to.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// memory is what the process holds resident now, in bytes (VmRSS), and 0 for no
// process.
func (p *process) memory() (int64, error) {
	if p == nil {
		return 0, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, "VmRSS:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: /proc says nothing of VmRSS", p.name)
}

// stage is what one run is played on.
type stage struct {
	gateway *process
	guard   *process // nil where the gateway is bare
}

// raise starts a Pushgateway that holds nothing, and a guard before it if that
// is asked for.
func raise(ctx context.Context, o options, guarded bool) (stage, error) {
	args := []string{"--persistence.file="}
	if !guarded {
		args = append(args, "--push.disable-consistency-check")
	}
	gateway, err := start(ctx, "pushgateway", pushgateway, args...)
	if err != nil || !guarded {
		return stage{gateway: gateway}, err
	}
	args = append([]string{"serve", "--pushgateway.url=" + gateway.url, "--policy.file=" + o.policy}, o.guardFlags...)
	guard, err := start(ctx, "pushguard", o.guard, args...)
	if err != nil {
		gateway.stop()
		return stage{}, err
	}
	return stage{gateway, guard}, nil
}

// processes are the servers, the one that the jobs push to first.
func (s stage) processes() []*process {
	if s.guard == nil {
		return []*process{s.gateway}
	}
	return []*process{s.guard, s.gateway}
}

// door is the URL that the jobs push to.
func (s stage) door() string { return s.processes()[0].url }

// watch cancels the run when a server ends before it.
func (s stage) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for _, p := range s.processes() {
		go func() {
			select {
			case <-ctx.Done():
			case <-p.done:
				cancel(fmt.Errorf("%s ended (%s):\n%s", p.name, p.cmd.ProcessState, p.logs))
			}
		}()
	}
}

func (s stage) stop() {
	for _, p := range s.processes() {
		p.stop()
	}
}
