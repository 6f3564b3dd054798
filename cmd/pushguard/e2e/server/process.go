// Package server runs the servers of measurements: a Pushgateway, a pushguard, and
// what else may stand between them, and asks Linux what they use.
//
// It is of the programs below e2e alone, and needs /proc.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/pushguard/pushguard/proxy/addresstest"
)

// Pushgateway is the command of a Pushgateway, to be found in PATH.
const Pushgateway = "prometheus-pushgateway"

const (
	product    = "github.com/pushguard/pushguard/cmd/pushguard"
	versionVar = "github.com/prometheus/common/version.Version"
	patience   = time.Minute // for a start and for an end
)

// Guard returns the path of the pushguard that is given, and where none is of one that
// it builds into dir.
func Guard(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		return given, nil
	}
	version, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always", "--dirty").Output()
	if err != nil {
		version = []byte("unknown")
	}
	return Build(ctx, product, dir, "-X "+versionVar+"="+strings.TrimSpace(string(version)))
}

// Build builds a command of the repository into dir, as pushguard is built, and returns its
// path. The flags are further ones for the linker.
func Build(ctx context.Context, command, dir, flags string) (string, error) {
	out := filepath.Join(dir, filepath.Base(command))
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w "+flags, "-o", out, command)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if told, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", command, err, told)
	}
	return out, nil
}

// Process is a server that answers on URL. Its methods may be called at any time, also
// of one that has ended.
type Process struct {
	Name string
	URL  string        // without a final slash
	Done chan struct{} // closed when the process has ended

	cmd  *exec.Cmd
	logs *bytes.Buffer // not read before Done
}

// Start runs a server of the Prometheus family on a free port of 127.0.0.1 and waits
// until it is ready.
func Start(ctx context.Context, name, path string, args ...string) (*Process, error) {
	address, err := addresstest.Free()
	if err != nil {
		return nil, err
	}
	return StartAt(ctx, address, name, path, append(args, "--web.listen-address="+address)...)
}

// StartAt runs a server that its arguments tell to listen on the address.
func StartAt(ctx context.Context, address, name, path string, args ...string) (*Process, error) {
	p := &Process{Name: name, URL: "http://" + address, logs: new(bytes.Buffer), Done: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Stdout, p.cmd.Stderr = p.logs, p.logs
	// A program that is killed must not leave servers behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.Done)
		_ = p.cmd.Wait()
	}()
	if err := p.ready(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%s is not ready: %w\n%s", name, err, p.logs)
	}
	return p, nil
}

func (p *Process) ready(ctx context.Context) error {
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
		case <-p.Done:
			return errors.New("it ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *Process) answersReady(ctx context.Context, client *http.Client) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+"/-/ready", http.NoBody)
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

// Stop ends the process, by force if it does not end when it is asked to.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.Done:
	case <-time.After(patience):
		p.Kill()
		<-p.Done
	}
}

// Signal sends a signal to the process.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Kill ends the process by force and does not wait for it.
func (p *Process) Kill() { _ = p.cmd.Process.Kill() }

// Ended says how the process ended, and what it logged. It waits for the end.
func (p *Process) Ended() error {
	<-p.Done
	return fmt.Errorf("%s ended (%s):\n%s", p.Name, p.cmd.ProcessState, p.logs)
}

// proc reads a file of the process below /proc.
func (p *Process) proc(file string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	return string(text), err
}
