package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// fault is something that goes wrong for a while, and is over when do returns.
type fault struct {
	name  string
	kills bool // the guard, so that its memory begins anew
	do    func(s *stage, ctx context.Context, d time.Duration) error
}

// both are the faults of every stage, beyond those with a Pushgateway, and alone those
// without: with a full disk an eviction that the Pushgateway does not answer in time is
// not kept either, and waits for the next push of its job.
var (
	both = []fault{
		{"guard killed", true, (*stage).killGuard},
		{"clients' connections reset", false, (*stage).resetClients},
		{"policy reloaded", false, (*stage).reload},
		{"guard stopped", false, (*stage).freezeGuard},
	}
	alone  = []fault{{"disk full", false, (*stage).fillDisk}}
	beyond = []fault{
		{"Pushgateway killed", false, (*stage).killGateway},
		{"Pushgateway stopped", false, (*stage).freezeGateway},
		{"exporter killed", false, (*stage).killExporter},
		{"Pushgateway's connections reset", false, (*stage).resetGateway},
		{"Pushgateway slow", false, (*stage).slowGateway},
	}
)

// killGuard kills it three times, at moments that are as good as any.
func (s *stage) killGuard(ctx context.Context, d time.Duration) error {
	for range 3 {
		wait(ctx, d/4)
		s.cut = true
		s.alive.Store(nil)
		end(s.guard)
		if err := s.startGuard(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) resetClients(ctx context.Context, d time.Duration) error {
	return breaking(ctx, s.front, d)
}

func (s *stage) resetGateway(ctx context.Context, d time.Duration) error {
	return breaking(ctx, s.back, d)
}

// breaking resets all connections again and again.
func breaking(ctx context.Context, r *relay, d time.Duration) error {
	for deadline := time.Now().Add(d); time.Now().Before(deadline) && ctx.Err() == nil; {
		wait(ctx, 170*time.Millisecond)
		r.reset()
	}
	return nil
}

func (s *stage) slowGateway(ctx context.Context, d time.Duration) error {
	s.back.slow(300 * time.Millisecond)
	defer s.back.slow(0)
	wait(ctx, d)
	return nil
}

// fillDisk takes all room there is for the state, and gives it back.
func (s *stage) fillDisk(ctx context.Context, d time.Duration) error {
	if len(s.mounts) == 0 {
		return errSkipped
	}
	filler := filepath.Join(s.state, "filler")
	defer os.Remove(filler)
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	wait(ctx, d)
	return nil
}

// errSkipped is a fault that cannot be made here.
var errSkipped = errors.New("this needs root")

// reload has the guard read another policy, one with a fault, and another again.
func (s *stage) reload(ctx context.Context, d time.Duration) error {
	for range 2 {
		s.limit++
		if err := errors.Join(s.writePolicy(), s.hangUp(ctx, 1)); err != nil {
			return err
		}
		if err := os.WriteFile(s.policy(), []byte("version: v1\njobs: nonsense\n"), 0o600); err != nil {
			return err
		}
		if err := s.hangUp(ctx, 0); err != nil {
			return err
		}
		wait(ctx, d/2)
	}
	return errors.Join(s.writePolicy(), s.hangUp(ctx, 1))
}

// hangUp sends SIGHUP and waits until the guard says whether it took the policy.
func (s *stage) hangUp(ctx context.Context, want float64) error {
	if err := s.guard.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	var wrong []string
	for deadline := time.Now().Add(settling); time.Now().Before(deadline) && ctx.Err() == nil; wait(ctx, again) {
		own, err := readPage(ctx, s.guard.URL+"/guard/metrics")
		if wrong = differ("pushguard_policy_last_reload_successful", own, want); err == nil && len(wrong) == 0 {
			return nil
		}
	}
	return fmt.Errorf("after SIGHUP: %v", wrong)
}

func (s *stage) freezeGuard(ctx context.Context, d time.Duration) error {
	return freeze(ctx, s.guard.Signal, d)
}

func (s *stage) freezeGateway(ctx context.Context, d time.Duration) error {
	return freeze(ctx, s.gateway.Signal, d)
}

func freeze(ctx context.Context, signal func(os.Signal) error, d time.Duration) error {
	if err := signal(syscall.SIGSTOP); err != nil {
		return err
	}
	wait(ctx, d)
	return signal(syscall.SIGCONT)
}

// killGateway kills it, and starts it again with nothing.
func (s *stage) killGateway(ctx context.Context, d time.Duration) error {
	end(s.gateway)
	s.model.lose()
	wait(ctx, d)
	return s.startGateway(ctx)
}

func (s *stage) killExporter(ctx context.Context, d time.Duration) error {
	s.cut, s.reached = true, page{}
	end(s.exporter)
	wait(ctx, d)
	return s.startExporter(ctx)
}
