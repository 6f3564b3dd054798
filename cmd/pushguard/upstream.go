package main

import (
	"context"
	"log/slog"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	commonversion "github.com/prometheus/common/version"

	"github.com/pushguard/pushguard/deploy"
	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/spool"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/store"
)

// behind is where snapshots go: a Pushgateway, or the guard's own store.
type behind struct {
	proxy.Upstream
	gateway *gateway.Upstream // nil without one
	store   *store.Store      // nil in front of one
	spool   *spool.Spool      // nil keeps nothing
}

func (b *behind) close() {
	if b.gateway != nil {
		b.gateway.Close()
	}
}

// metrics are what it says of itself.
func (b *behind) metrics() []prometheus.Collector {
	if b.gateway == nil {
		return nil
	}
	all := []prometheus.Collector{b.gateway}
	if b.spool != nil {
		all = append(all, b.spool)
	}
	return all
}

// embedded reports whether the guard is to keep the snapshots itself.
func (s *serveCommand) embedded() bool { return s.gatewayURL == nil }

// openBehind opens what is behind; quit ends the process.
func (s *serveCommand) openBehind(metrics *proxy.Metrics, dir *state.Dir, flags map[string]string, quit func(), logger *slog.Logger) (*behind, error) {
	if !s.embedded() {
		upstream, err := s.openUpstream(metrics, logger)
		if err != nil {
			return nil, err
		}
		first, kept, err := s.spooled(s.checked(upstream, logger), dir, logger)
		return &behind{Upstream: first, gateway: upstream, spool: kept}, err
	}
	own, err := store.Open(store.Config{Dir: dir, Quit: quit, Flags: flags, Logger: logger})
	return &behind{Upstream: own, store: own}, err
}

// loadPolicy reads the policy that is to be served: the file, or the one built in.
// That is enforced where the guard keeps the snapshots itself, and only reported in
// front of a Pushgateway, whose clients it does not know.
func (s *serveCommand) loadPolicy() (*policy.Policy, error) {
	if s.policyFile != "" {
		return policy.Load(s.policyFile)
	}
	p, err := policy.Parse("built-in", deploy.ExamplePolicy)
	if err != nil || s.embedded() {
		return p, err
	}
	return p.InReport(), nil
}

// policyName is what the log calls the policy.
func (s *serveCommand) policyName() string {
	switch {
	case s.policyFile != "":
		return s.policyFile
	case s.embedded():
		return "built-in, enforced"
	default:
		return "built-in, in report"
	}
}

// behindName is what the log calls what is behind.
func (s *serveCommand) behindName() string {
	if s.embedded() {
		return "embedded"
	}
	return s.gatewayURL.String()
}

// flagValues are the flags that were given, and those with a default, as
// /api/v1/status shows them.
func flagValues(cmd *kingpin.CmdClause) map[string]string {
	out := map[string]string{}
	for _, f := range cmd.Model().Flags {
		if f.Value != nil {
			out[f.Name] = f.Value.String()
		}
	}
	return out
}

// runStore is a lifecycle that writes the groups anew when that is due.
func runStore(s *store.Store, logger *slog.Logger) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(context.Background())
	return func() error {
		go s.Run(func(err error) {
			logger.Error("The groups cannot be written: what is new is kept in memory alone", "err", err)
		})
		<-ctx.Done()
		return nil
	}, func(error) { cancel() }
}

// product is how pushguard names itself to clients and upstreams.
func product() string { return commonversion.ComponentUserAgent("pushguard") }
