package main

import (
	"context"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
)

// watcher tells when a policy has changed and the change is whole: what it reads has
// another stamp than what was loaded, and the same one twice. Who writes a file in
// place leaves half of it there for a moment, which may be a policy, too.
type watcher struct {
	stamp        func() string
	loaded, seen string
}

// due reports whether to read the policy again, once for each change.
func (w *watcher) due() bool {
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
	w := &watcher{stamp: func() string { return policy.Stamp(s.policyFile, guard.PolicyBesides()) }}
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
