package main

import (
	"context"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// stage is what one run is played on.
type stage struct {
	gateway *server.Process
	guard   *server.Process // nil where the gateway is bare
}

// raise starts a Pushgateway that holds nothing, and a guard before it if that
// is asked for.
func raise(ctx context.Context, o options, guarded bool) (stage, error) {
	args := []string{"--persistence.file="}
	if !guarded {
		args = append(args, "--push.disable-consistency-check")
	}
	gateway, err := server.Start(ctx, "pushgateway", server.Pushgateway, args...)
	if err != nil || !guarded {
		return stage{gateway: gateway}, err
	}
	args = append([]string{"serve", "--pushgateway.url=" + gateway.URL, "--policy.file=" + o.policy}, o.guardFlags...)
	guard, err := server.Start(ctx, "pushguard", o.guard, args...)
	if err != nil {
		gateway.Stop()
		return stage{}, err
	}
	return stage{gateway, guard}, nil
}

// processes are the servers, the one that the jobs push to first.
func (s stage) processes() []*server.Process {
	if s.guard == nil {
		return []*server.Process{s.gateway}
	}
	return []*server.Process{s.guard, s.gateway}
}

// door is the URL that the jobs push to.
func (s stage) door() string { return s.processes()[0].URL }

// watch cancels the run when a server ends before it.
func (s stage) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	for _, p := range s.processes() {
		go func() {
			select {
			case <-ctx.Done():
			case <-p.Done:
				cancel(p.Ended())
			}
		}()
	}
}

func (s stage) stop() {
	for _, p := range s.processes() {
		p.Stop()
	}
}
