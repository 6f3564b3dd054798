package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
	"github.com/pushguard/pushguard/proxy/addresstest"
)

// The policies of the guards: both enforce, and keep what is pushed as it is; gauges are
// pushed, so that the same is stored everywhere.
const (
	permits  = "version: v1\ndefault: {mode: enforce, limits: {sample_limit: 200000, label_limit: 30, label_value_length_limit: 200}}\n"
	dropsOne = "version: v1\ndefault: {mode: enforce, limits: {sample_limit: 200000, label_limit: 30, label_value_length_limit: 200}, rules: [{id: ids, labels: [run_id], action: drop}]}\n"
)

// contender is a server, or several one behind the other, that takes pushes.
type contender struct {
	processes []*server.Process // the one that is pushed to first
	load      *load
	shots     []shot
}

func (c *contender) front() *server.Process { return c.processes[0] }

// cpu is the processor time that its servers have used.
func (c *contender) cpu() (time.Duration, error) {
	sum := time.Duration(0)
	for _, p := range c.processes {
		used, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// turn has it pushed to for that long.
func (c *contender) turn(ctx context.Context, d time.Duration) error {
	before, err := c.cpu()
	if err != nil {
		return err
	}
	s, err := c.load.during(ctx, d)
	if err != nil {
		return fmt.Errorf("%s: %w", c.front().Name, err)
	}
	after, err := c.cpu()
	s.cpu = after - before
	c.shots = append(c.shots, s)
	return err
}

// stage starts the contenders of a work and ends them.
type stage struct {
	options
	contenders []*contender
}

func (s *stage) stop() {
	for _, c := range s.contenders {
		c.load.close()
		for _, p := range c.processes {
			p.Stop()
		}
	}
}

// add takes a server on, in front of another contender's if there is one.
func (s *stage) add(p *server.Process, err error, behind ...*contender) (*contender, error) {
	if err != nil {
		return nil, err
	}
	c := &contender{processes: []*server.Process{p}}
	s.contenders = append(s.contenders, c)
	for _, b := range behind {
		c.processes = append(c.processes, b.processes...)
	}
	return c, nil
}

// pushgateway starts a Pushgateway; unchecked, it does not look at what it holds.
func (s *stage) pushgateway(ctx context.Context, unchecked bool, flags ...string) (*contender, error) {
	name := "the checked Pushgateway"
	if unchecked {
		name, flags = "the unchecked Pushgateway", append(flags, "--push.disable-consistency-check")
	}
	if !slices.ContainsFunc(flags, func(f string) bool { return strings.HasPrefix(f, "--persistence.file=") }) {
		flags = append(flags, "--persistence.file=") // Debian's has one by default
	}
	p, err := server.Start(ctx, name, server.Pushgateway, flags...)
	return s.add(p, err)
}

// filled starts a checked Pushgateway that holds the pushes already. It would take it
// hours to take them one by one: one without its check takes them and writes its file.
func (s *stage) filled(ctx context.Context, p pushes) (*contender, error) {
	dir, err := os.MkdirTemp(s.dir, "pushgateway-") // it writes its file again when it ends
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "pushgateway.data")
	c, err := s.pushgateway(ctx, true, "--persistence.file="+file)
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, p, c); err != nil {
		return nil, err
	}
	c.load.close()
	c.load = nil
	c.front().Stop()
	return s.pushgateway(ctx, false, "--persistence.file="+file)
}

// embedded starts a guard that keeps what is pushed itself.
func (s *stage) embedded(ctx context.Context, policy string, flags ...string) (*contender, error) {
	return s.guard(ctx, "the embedded store", policy, flags)
}

// rivals starts an embedded store, the unchecked Pushgateway it is compared with, and a
// server of net/http that does nothing.
func (s *stage) rivals(ctx context.Context) (own, peer, bare *contender, err error) {
	if own, err = s.embedded(ctx, permits); err != nil {
		return nil, nil, nil, err
	}
	if peer, err = s.pushgateway(ctx, true); err != nil {
		return nil, nil, nil, err
	}
	bare, err = s.bare(ctx)
	return own, peer, bare, err
}

// before starts a guard in front of a contender.
func (s *stage) before(ctx context.Context, policy string, upstream *contender, flags ...string) (*contender, error) {
	return s.guard(ctx, "the guard", policy, append(flags, "--pushgateway.url="+upstream.front().URL), upstream)
}

func (s *stage) guard(ctx context.Context, name, policy string, flags []string, behind ...*contender) (*contender, error) {
	file := filepath.Join(s.dir, fmt.Sprintf("policy-%d.yml", len(s.contenders)))
	if err := os.WriteFile(file, []byte(policy), 0o600); err != nil {
		return nil, err
	}
	flags = append([]string{"serve", "--policy.file=" + file, "--limits.series=4000000"}, flags...)
	p, err := server.Start(ctx, name, s.options.guard, flags...)
	return s.add(p, err, behind...)
}

// passing starts a haproxy in front of a contender, with a thread for each core as it
// comes.
func (s *stage) passing(ctx context.Context, upstream *contender) (*contender, error) {
	address, err := addresstest.Free()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "haproxy.cfg")
	config := fmt.Sprintf(haproxyConfig, address, strings.TrimPrefix(upstream.front().URL, "http://"))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p, err := server.StartAt(ctx, address, "haproxy", "haproxy", "-db", "-f", file)
	if err != nil {
		err = errors.Join(err, errors.New("testdata/install.sh haproxy installs one"))
	}
	return s.add(p, err, upstream)
}

// bare starts a server of net/http that does nothing with a push, or, in front of a
// contender, nothing but hand it on.
func (s *stage) bare(ctx context.Context, upstream ...*contender) (*contender, error) {
	binary, err := server.Build(ctx, bareCommand, s.dir, "")
	if err != nil {
		return nil, err
	}
	address, err := addresstest.Free()
	if err != nil {
		return nil, err
	}
	args := []string{address}
	for _, u := range upstream {
		args = append(args, strings.TrimPrefix(u.front().URL, "http://"))
	}
	p, err := server.StartAt(ctx, address, "net/http alone", binary, args...)
	return s.add(p, err, upstream...)
}

const bareCommand = "github.com/pushguard/pushguard/cmd/pushguard/e2e/gateways/bare"

const haproxyConfig = `defaults
  mode http
  timeout connect 5s
  timeout client 1m
  timeout server 1m
  http-reuse always
listen pushes
  bind %s
  server pushgateway %s
`

// fill has the contenders hold the pushes, and pushes the same from then on.
func (s *stage) fill(ctx context.Context, p pushes, contenders ...*contender) error {
	for _, c := range contenders {
		if err := s.aim(p, c); err != nil { // no sooner: a server closes connections that say nothing
			return err
		}
		if err := c.load.fill(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.front().Name, err)
		}
	}
	return nil
}

// aim has the contenders be pushed this from now on.
func (s *stage) aim(p pushes, contenders ...*contender) error {
	for _, c := range contenders {
		c.load.close()
		c.shots = nil
		var err error
		if c.load, err = dial(strings.TrimPrefix(c.front().URL, "http://"), p, s.conns); err != nil {
			return err
		}
	}
	return nil
}

// compete has the contenders take turns, another first in each round, after a turn that
// does not count.
func (s *stage) compete(ctx context.Context, contenders ...*contender) error {
	for round := range s.rounds + 1 {
		for i := range contenders {
			c, d := contenders[(round+i)%len(contenders)], s.duration
			if round == 0 {
				d /= 3
			}
			if err := c.turn(ctx, d); err != nil {
				return err
			}
		}
	}
	for _, c := range contenders {
		c.shots = c.shots[1:]
	}
	return nil
}
