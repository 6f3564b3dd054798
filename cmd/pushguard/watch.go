package main

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
)

// watcher tells when a policy has changed and the change is whole: what it reads has
// another stamp than what was loaded, and the same one twice. Who writes a file in
// place leaves half of it there for a moment, which may be a policy, too.
type watcher struct {
	stamp        func() string
	read         func() *string // of what was there at the last reading, whoever asked for it
	loaded, seen string
	last         *string
}

// policyRead is what was there when the policy was read again.
type policyRead struct {
	stamp   atomic.Pointer[string]
	besides []string // the files of users that were read besides
}

// loadPolicyAgain loads the policy for a reload, one call at a time, by whoever asked for
// it: who watches the files has to know what was in them then.
func (s *serveCommand) loadPolicyAgain() (*policy.Policy, error) {
	if s.policyWatch <= 0 {
		return s.loadPolicy()
	}
	read := &s.policyRead
	stamp := policy.Stamp(s.policyFile, read.besides)
	p, err := s.loadPolicy()
	if err == nil && !slices.Equal(p.Besides(), read.besides) {
		read.besides, stamp = p.Besides(), "" // of other files: they are read once more
	}
	read.stamp.Store(&stamp)
	return p, err
}

// due reports whether to read the policy again, once for each change.
func (w *watcher) due() bool {
	if read := w.read(); read != w.last {
		w.last, w.loaded = read, *read
	}
	now := w.stamp()
	whole := now == w.seen && now != w.loaded
	w.seen = now
	if whole {
		w.loaded = now
	}
	return whole
}

// watchPolicy is a lifecycle that reads the policy again when its files have changed
// since it was loaded. The files are read each time rather than watched by the
// kernel: that misses nothing on any file system, whether they are written in place,
// renamed over or exchanged behind a symbolic link.
func (s *serveCommand) watchPolicy(ctx context.Context, guard *proxy.Guard) (execute func() error, interrupt func(error)) {
	w := &watcher{
		stamp: func() string { return policy.Stamp(s.policyFile, guard.PolicyBesides()) },
		read:  s.policyRead.stamp.Load,
	}
	if policy.Stamp(s.policyFile, nil) == s.policyStamp {
		w.loaded = w.stamp()
	}
	return inContext(ctx, func(ctx context.Context) error {
		beat := time.NewTicker(s.policyWatch)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-beat.C:
				if w.due() {
					_ = guard.Reload() // which logs and counts what came of it
				}
			}
		}
	})
}
