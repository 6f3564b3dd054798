package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// stage is a guard at work, with what stands around it, its jobs and the model of what
// they did. Its servers are of one goroutine, that of its faults.
type stage struct {
	name   string
	o      options
	dir    string // of policy, audit log and sockets
	state  string // --state.dir
	mounts []string

	guard    *server.Process
	gateway  *server.Process // nil where the guard keeps the snapshots itself
	exporter *server.Process // likewise
	front    *relay          // before the guard
	back     *relay          // before the Pushgateway

	model *model
	load  *load
	watch *watch

	alive   atomic.Pointer[server.Process] // the guard, but while it is down
	cut     bool                           // what was for StatsD may have been lost since
	reached page                           // what the exporter showed then
	given   page                           // what it had been given then
	limit   int                            // of the policy's text
	marks   int
	past    []string // the faults so far
}

func newStage(name string, o options, dir string) (*stage, error) {
	s := &stage{name: name, o: o, dir: filepath.Join(dir, name), model: newModel(), limit: 1000, reached: page{}, given: page{}}
	s.state = filepath.Join(s.dir, "state")
	if err := os.MkdirAll(s.state, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.front, err = newRelay(); err != nil {
		return nil, err
	}
	s.load = newLoad(s.front.url(), s.model)
	s.watch = new(watch)
	s.mount()
	return s, s.writePolicy()
}

// small is the size of the file system of a state that is to become full.
const small = 256 << 20

// mount gives the state a file system of its own, where that is permitted.
func (s *stage) mount() {
	if syscall.Mount("tmpfs", s.state, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", small)) == nil {
		s.mounts = append(s.mounts, s.state)
	}
}

func (s *stage) policy() string { return filepath.Join(s.dir, "policy.yml") }

func (s *stage) writePolicy() error {
	return os.WriteFile(s.policy(), fmt.Appendf(nil, policyText, s.limit), 0o600)
}

// raise starts everything. Where there is a Pushgateway there is an exporter, too.
func (s *stage) raise(ctx context.Context, gateway bool) error {
	if gateway {
		var err error
		if s.back, err = newRelay(); err != nil {
			return err
		}
		if err := errors.Join(s.startGateway(ctx), s.startExporter(ctx)); err != nil {
			return err
		}
	}
	return s.startGuard(ctx)
}

// start runs a server at a port that is free; somebody may take it first.
func start(ctx context.Context, name, path string, args ...string) (p *server.Process, err error) {
	for range 3 {
		if p, err = server.Start(ctx, name, path, args...); err == nil || ctx.Err() != nil {
			break
		}
	}
	return p, err
}

func address(p *server.Process) string { return strings.TrimPrefix(p.URL, "http://") }

func (s *stage) startGateway(ctx context.Context) (err error) {
	if s.gateway, err = start(ctx, "pushgateway", server.Pushgateway, "--persistence.file="); err == nil {
		s.back.to(address(s.gateway))
	}
	return err
}

func (s *stage) socket() string { return filepath.Join(s.dir, "statsd.sock") }

func (s *stage) startExporter(ctx context.Context) (err error) {
	_ = os.Remove(s.socket()) // with this file it does not start
	s.exporter, err = start(ctx, "statsd_exporter", s.o.exporter, "--statsd.listen-udp=", "--statsd.listen-tcp=", "--statsd.listen-unixgram="+s.socket())
	return err
}

func (s *stage) startGuard(ctx context.Context) (err error) {
	args := []string{"serve", "--policy.file=" + s.policy(), "--state.dir=" + s.state, "--audit.file=" + filepath.Join(s.dir, "audit.jsonl"), "--audit.all"}
	if s.back != nil {
		args = append(args, "--pushgateway.url="+s.back.url(), "--pushgateway.spool", "--pushgateway.spool-after=3s", "--pushgateway.timeout=10s",
			"--pushgateway.breaker-pause=500ms", "--pushgateway.watch-interval=500ms", "--statsd.address=unixgram://"+s.socket(), "--statsd.zero-hold=0s")
	}
	if s.guard, err = start(ctx, "pushguard", s.o.guard, args...); err != nil {
		return err
	}
	s.front.to(address(s.guard))
	s.alive.Store(s.guard)
	return nil
}

// end ends a server at once.
func end(p *server.Process) {
	if p == nil {
		return
	}
	p.Kill()
	<-p.Done
}

func (s *stage) close() {
	for _, p := range []*server.Process{s.guard, s.exporter, s.gateway} {
		end(p)
	}
	s.front.close()
	if s.back != nil {
		s.back.close()
	}
	for _, dir := range s.mounts {
		_ = syscall.Unmount(dir, syscall.MNT_DETACH)
	}
}

// buildExporter returns the path of the statsd_exporter that the module's tools have.
func buildExporter(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "-modfile=tools.mod", "-n", "statsd_exporter")
	cmd.Dir = strings.TrimSpace(string(root))
	path, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go tool -modfile=tools.mod -n statsd_exporter: %w", err)
	}
	return strings.TrimSpace(string(path)), nil
}

// wait sleeps, unless ctx ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
