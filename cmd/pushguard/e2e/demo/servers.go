package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/pushguard/pushguard/proxy/addresstest"
)

// patience is how long a server may take to end.
const patience = 10 * time.Second

// server is a process that answers over HTTP.
type server struct {
	cmd  *exec.Cmd
	logs bytes.Buffer // not read before done
	done chan struct{}
}

// servers are those that were started, the first first.
type servers struct{ all []*server }

// start runs a server on a free port, waits until it is ready and returns its URL.
// Between choosing a port and its taking it another process may come first.
func (s *servers) start(ctx context.Context, name, path string, args ...string) (string, error) {
	var err error
	for range 3 {
		var url string
		var p *server
		if url, p, err = launch(ctx, name, path, args); err == nil {
			s.all = append(s.all, p)
			return url, nil
		}
		if p == nil || !strings.Contains(p.logs.String(), "address already in use") {
			break
		}
	}
	return "", err
}

func launch(ctx context.Context, name, path string, args []string) (string, *server, error) {
	address, err := addresstest.Free()
	if err != nil {
		return "", nil, err
	}
	p := &server{done: make(chan struct{})}
	p.cmd = exec.Command(path, append(args, "--web.listen-address="+address)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.logs, &p.logs
	if err := p.cmd.Start(); err != nil {
		return "", nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	url := "http://" + address
	if !p.ready(ctx, url) {
		p.stop()
		return "", p, fmt.Errorf("%s did not start:\n%s", name, p.logs.String())
	}
	return url, p, nil
}

// ready reports whether the server answers 200 to /-/ready before it ends.
func (p *server) ready(ctx context.Context, url string) bool {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/-/ready", http.NoBody)
		if err != nil {
			return false
		}
		if answer, err := http.DefaultClient.Do(r); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-p.done:
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the server, by force if it does not end when it is asked to.
func (p *server) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// stop ends all servers, the last first: pushes find what is behind them.
func (s *servers) stop() {
	for i := len(s.all) - 1; i >= 0; i-- {
		s.all[i].stop()
	}
}
