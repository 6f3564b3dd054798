package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/fleet"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/spool"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// faultFlags say what is done while a Pushgateway behind does not answer, as given.
type faultFlags struct {
	failures  int
	pause     time.Duration
	keepMoved time.Duration

	spool       bool
	spoolAfter  time.Duration
	spoolGroups int
	spoolBytes  int64
}

func (f *faultFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "pushgateway.breaker-failures", "After how many requests in a row without an answer a Pushgateway is left alone: pushes are then answered at once instead of waiting for it. 0 never.", &f.failures, parseFailures).
		Default("5")
	flag(cmd, "pushgateway.breaker-pause", "For how long it is left alone before one request is sent to see whether it is back.", &f.pause, parseTimeout).
		Default("5s")
	flag(cmd, "pushgateway.keep-moved", "For how long a Pushgateway keeps its copy of a group that has moved to another, once that is seen to have it: another may have it in memory alone until its --persistence.interval is over.", &f.keepMoved, parseDuration).
		Default("6m")
	cmd.Flag("pushgateway.spool", "Keep pushes in --state.dir while the Pushgateway does not answer, with 202, and deliver them when it is back: of each group the newest state.").
		BoolVar(&f.spool)
	flag(cmd, "pushgateway.spool-after", "How long the Pushgateway may take over a push before that is kept.", &f.spoolAfter, parseTimeout).
		Default("5s")
	flag(cmd, "pushgateway.spool-groups", "Groups that are kept at most; a push of a further one is answered 502.", &f.spoolGroups, parseCount).
		Default("100000")
	flag(cmd, "pushgateway.spool-size", "What is kept at most, in memory and on disk; a push beyond is answered 502.", &f.spoolBytes, parseSize).
		Default("64MiB")
}

// check finds the faults that no flag can find in itself alone.
func (f *faultFlags) check(embedded, leaving bool, stateDir string) error {
	switch {
	case leaving && embedded:
		return flagFault("--pushgateway.leaving is beside Pushgateways that stay: --pushgateway.url names none")
	case f.spool && embedded:
		return flagFault("--pushgateway.spool is for a Pushgateway behind: --pushgateway.url names none")
	case f.spool && stateDir == "":
		return flagFault("--pushgateway.spool needs --state.dir, where it keeps what waits")
	}
	return nil
}

// spooled is an upstream with a spool before it, if there is to be one, which is nil
// otherwise.
func (s *serveCommand) spooled(upstream proxy.Upstream, all *fleet.Fleet, dir *state.Dir, logger *slog.Logger) (proxy.Upstream, *spool.Spool, error) {
	f := s.faults
	if !f.spool {
		return upstream, nil, nil
	}
	caps := s.limits.caps()
	cfg := spool.Config{
		Upstream: upstream, Dir: dir, After: f.spoolAfter, MaxGroups: f.spoolGroups, MaxBytes: f.spoolBytes,
		Limits: spool.Limits{Options: wire.Options{UTF8Names: s.utf8Names}, Decoded: caps.Decoded},
		Logger: logger,
	}
	if all != nil {
		cfg.Lanes, cfg.Lane, cfg.Probe = all.Len(), all.Target, all.Probe
	}
	sp, err := spool.Open(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("--pushgateway.spool: %w", err)
	}
	return sp, sp, nil
}

// sayLeft says what waits of pushes that were answered 202 where nothing delivers them.
func (f *faultFlags) sayLeft(dir *state.Dir, logger *slog.Logger) error {
	if f.spool || dir == nil {
		return nil
	}
	n, err := spool.Left(dir, logger)
	if err != nil {
		return fmt.Errorf("--state.dir: %w", err)
	}
	if n > 0 {
		logger.Error("Pushes that were answered 202 wait in --state.dir: without --pushgateway.spool they are not delivered", "groups", n)
	}
	return nil
}

func (f *faultFlags) breaker() gateway.Breaker {
	return gateway.Breaker{Failures: f.failures, Pause: f.pause}
}

func parseFailures(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("want a whole number from 0 to 2147483647")
	}
	return int(n), nil
}
