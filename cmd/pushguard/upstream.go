package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"
	commonversion "github.com/prometheus/common/version"

	"github.com/pushguard/pushguard/deploy"
	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/consistency"
	"github.com/pushguard/pushguard/proxy/fleet"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/spool"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/store"
)

// behind is where snapshots go: a Pushgateway, or the guard's own store.
type behind struct {
	proxy.Upstream
	gateways []*gateway.Upstream // none without one
	fleet    *fleet.Fleet        // nil unless there are several
	store    *store.Store        // nil in front of one
	spool    *spool.Spool        // nil keeps nothing
}

func (b *behind) close() error {
	for _, u := range b.gateways {
		u.Close()
	}
	return nil
}

// metrics are what it says of itself.
func (b *behind) metrics() []prometheus.Collector {
	var all []prometheus.Collector
	switch {
	case b.fleet != nil:
		all = append(all, b.fleet)
	case len(b.gateways) > 0:
		all = append(all, b.gateways[0])
	}
	if b.spool != nil {
		all = append(all, b.spool)
	}
	return all
}

// embedded reports whether the guard is to keep the snapshots itself.
func (s *serveCommand) embedded() bool { return len(s.gatewayURLs) == 0 }

// several reports whether jobs are spread over several Pushgateways.
func (s *serveCommand) several() bool { return len(s.gatewayURLs)+len(s.leavingURLs) > 1 }

// openBehind opens what is behind; quit ends the process.
func (s *serveCommand) openBehind(metrics *proxy.Metrics, dir *state.Dir, flags map[string]string, quit func(), logger *slog.Logger) (*behind, error) {
	if err := s.faults.sayLeft(dir, logger); err != nil {
		return nil, err
	}
	if !s.embedded() {
		return s.openGateways(metrics, dir, logger)
	}
	own, err := store.Open(store.Config{Dir: dir, Quit: quit, Flags: flags, Apart: s.adminAddress != "", Logger: logger})
	return &behind{Upstream: own, store: own}, err
}

// openGateways opens what stands before the Pushgateways behind, and them.
func (s *serveCommand) openGateways(metrics *proxy.Metrics, dir *state.Dir, logger *slog.Logger) (*behind, error) {
	staying, err := s.openUpstreams("pushgateway.url", s.gatewayURLs, metrics, logger)
	if err != nil {
		return nil, err
	}
	for _, u := range s.leavingURLs {
		if slices.ContainsFunc(s.gatewayURLs, sameAs(u)) {
			return nil, flagFault("--pushgateway.leaving=%q: --pushgateway.url names it, too", cut(u.Redacted()))
		}
	}
	leaving, err := s.openUpstreams("pushgateway.leaving", s.leavingURLs, metrics, logger)
	if err != nil {
		return nil, err
	}
	out := &behind{gateways: append(staying, leaving...)}
	var one consistency.Upstream = out.gateways[0]
	if s.several() {
		out.fleet, err = fleet.Open(dir, fleet.Config{Staying: staying, Leaving: leaving, Rest: s.faults.keepMoved, Logger: logger})
		if err != nil {
			return nil, fmt.Errorf("--state.dir: %w", err)
		}
		one = out.fleet
	}
	out.Upstream, out.spool, err = s.spooled(s.checked(one, logger), out.fleet, dir, logger)
	return out, err
}

func (s *serveCommand) openUpstreams(flag string, urls []*url.URL, metrics *proxy.Metrics, logger *slog.Logger) (out []*gateway.Upstream, err error) {
	client, err := loadClient("pushgateway.config.file", s.gatewayConfigFile)
	if err != nil {
		return nil, err
	}
	for _, u := range urls {
		upstream, err := gateway.New(gateway.Config{
			URL:       u,
			Timeout:   s.gatewayTimeout,
			Client:    client,
			Breaker:   s.faults.breaker(),
			UserAgent: product(),
			Observe:   metrics.ObserveUpstream,
			Logger:    logger,
		})
		if err != nil {
			return nil, flagFault("--%s: %v", flag, err)
		}
		out = append(out, upstream)
	}
	return out, nil
}

// loadClient reads the file that a flag names, which says how to speak to an upstream; nil
// if it names none.
func loadClient(flag, file string) (*gateway.Client, error) {
	if file == "" {
		return nil, nil
	}
	client, err := gateway.LoadClient(file)
	if err != nil {
		return nil, flagFault("--%s: %s", flag, oneLine(err))
	}
	return client, nil
}

// upstreams is the value of a flag that may be repeated, each time with another URL.
type upstreams struct {
	name   string
	target *[]*url.URL
}

// Set is part of kingpin.Value.
func (v upstreams) Set(text string) error {
	u, err := parseUpstream(text)
	if err != nil {
		return fmt.Errorf("--%s=%q: %w", v.name, cut(text), err)
	}
	if slices.ContainsFunc(*v.target, sameAs(u)) {
		return fmt.Errorf("--%s=%q: it is there twice", v.name, cut(text))
	}
	*v.target = append(*v.target, u)
	return nil
}

// sameAs reports whether a URL is that of the same Pushgateway, however it is written.
func sameAs(u *url.URL) func(*url.URL) bool {
	address := func(u *url.URL) string {
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + strings.TrimRight(u.EscapedPath(), "/")
	}
	return func(other *url.URL) bool { return address(other) == address(u) }
}

// String is part of kingpin.Value.
func (v upstreams) String() string {
	var all []string
	for _, u := range *v.target {
		all = append(all, u.Redacted())
	}
	return strings.Join(all, " ")
}

// IsCumulative tells kingpin that the flag may be repeated.
func (v upstreams) IsCumulative() bool { return true }

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
	return upstreams{"", &s.gatewayURLs}.String()
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

// keeping is a lifecycle of what writes its state anew when that is due, and says where it
// cannot.
func keeping(run func(report func(error)), failed string, logger *slog.Logger) (execute func() error, interrupt func(error)) {
	return inContext(context.Background(), func(ctx context.Context) error {
		go run(reports(failed, logger))
		<-ctx.Done()
		return nil
	})
}

// product is how pushguard names itself to clients and upstreams.
func product() string { return commonversion.ComponentUserAgent("pushguard") }
