package main

import (
	"context"
	"log/slog"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/consistency"
	"github.com/pushguard/pushguard/proxy/gateway"
)

// checked is the Pushgateway behind with the check before it that it does not do itself,
// if that is so.
func (s *serveCommand) checked(upstream consistency.Upstream, logger *slog.Logger) proxy.Upstream {
	if !s.unchecked && !s.several() { // none of several sees what contradicts another's
		return upstream
	}
	return consistency.New(upstream, logger)
}

// uncheckedCheck is a lifecycle that warns once if the Pushgateway behind checks pushes
// though the guard does, or if neither does. One that does not say is no reason to warn, nor
// is one of several, before which the guard checks in any case, that does not.
func (s *serveCommand) uncheckedCheck(ctx context.Context, logger *slog.Logger, upstream *gateway.Upstream) (execute func() error, interrupt func(error)) {
	return inContext(ctx, func(ctx context.Context) error {
		switch unchecked, known, err := upstream.Unchecked(ctx); {
		case err != nil || !known:
			logger.Debug("Whether the Pushgateway has --push.disable-consistency-check is unknown", "err", err)
		case unchecked && !s.unchecked && !s.several():
			logger.Warn("The Pushgateway behind has --push.disable-consistency-check: a push that contradicts another breaks its scrape, for every job. Set --pushgateway.unchecked")
		case !unchecked && s.unchecked:
			logger.Warn("The Pushgateway behind checks every push itself, at a cost that grows with what it holds: --pushgateway.unchecked is for one with --push.disable-consistency-check")
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

// utf8Check is a lifecycle that warns once if the guard and the Pushgateway
// behind read names differently: pushes that one takes the other would refuse.
// A Pushgateway that does not say is no reason to warn.
func (s *serveCommand) utf8Check(ctx context.Context, logger *slog.Logger, upstream *gateway.Upstream) (execute func() error, interrupt func(error)) {
	return inContext(ctx, func(ctx context.Context) error {
		enabled, err := upstream.UTF8Names(ctx)
		switch {
		case err != nil:
			logger.Debug("Whether the Pushgateway has --push.enable-utf8-names is unknown", "err", err)
		case enabled != s.utf8Names:
			logger.Warn("--push.enable-utf8-names is not what the Pushgateway behind has", "pushguard", s.utf8Names, "pushgateway", enabled)
		}
		<-ctx.Done()
		return ctx.Err()
	})
}
