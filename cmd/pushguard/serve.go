package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	oklogrun "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/console"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/statsd"
	"github.com/pushguard/pushguard/proxy/story"
)

// serveCommand is the subcommand serve: its flags, as given.
type serveCommand struct {
	cmd               *kingpin.CmdClause
	web               *web.FlagConfig
	routePrefix       string
	enableLifecycle   bool
	enableAdminAPI    bool
	adminAddress      string
	trustedProxies    []netip.Prefix
	readTimeout       time.Duration
	readHeaderTimeout time.Duration
	idleTimeout       time.Duration
	shutdownTimeout   time.Duration

	gatewayURLs       []*url.URL
	leavingURLs       []*url.URL
	gatewayConfigFile string
	gatewayTimeout    time.Duration
	textAsProtobuf    bool
	unchecked         bool
	faults            faultFlags

	policyFile  string
	policyWatch time.Duration
	policyStamp string // of what was there when the policy was first loaded
	utf8Names   bool

	audit   auditFlags
	record  recordFlags
	limits  limitFlags
	state   stateFlags
	statsd  statsdFlags
	events  eventFlags
	rhythms rhythmFlags
	memory  memoryFlags

	open *connections // to the address of the jobs
}

func newServeCommand(app *kingpin.Application) *serveCommand {
	s := &serveCommand{}
	s.cmd = app.Command("serve", "Take the requests of a Pushgateway's clients and hold every push to the policy. What it permits is kept and served here, or forwarded to a Pushgateway behind.")
	cmd := s.cmd
	cmd.Flag("pushgateway.url", "URL of the Pushgateway behind, with its route prefix if it has one. Repeated, jobs are spread over several. By default there is none: the guard keeps the snapshots itself, and serves them at /metrics.").
		PlaceHolder("URL").SetValue(upstreams{"pushgateway.url", &s.gatewayURLs})
	cmd.Flag("pushgateway.leaving", "URL of a Pushgateway that is to be taken out of several: it keeps and shows what it has until that is pushed anew or swept, and gets no new groups. Repeatable.").
		PlaceHolder("URL").SetValue(upstreams{"pushgateway.leaving", &s.leavingURLs})
	cmd.Flag("pushgateway.config.file", "File that says how to speak to the Pushgateway behind: basic_auth, authorization, oauth2, tls_config, http_headers or a proxy, as in Prometheus' http_config. What it sets replaces what a client sends. Redirects and HTTP/2 are never used. Without the file, clients' own credentials are forwarded.").
		PlaceHolder("FILE").StringVar(&s.gatewayConfigFile)
	cmd.Flag("policy.file", "The policy: a file, or a folder of files, *.yml and *.yaml but for *_test.yml, in the order of their names. By default the one built in, which is deploy/policy.example.yml: enforced without a Pushgateway behind, in report in front of one.").
		PlaceHolder("FILE").StringVar(&s.policyFile)
	flag(cmd, "policy.watch", "How often the policy's files are looked at: a change that is seen twice is read as by SIGHUP. 0s never.", &s.policyWatch, parseDuration).
		Default("0s")
	flag(cmd, "pushgateway.timeout", "How long the Pushgateway may take to answer one request.", &s.gatewayTimeout, parseTimeout).
		Default("30s")
	flag(cmd, "pushgateway.encoding", "How pushes go on. auto: a text push that is enforced as protobuf, which costs the Pushgateway half, where that is the same push. received: each as it came.", &s.textAsProtobuf, parseEncoding).
		Default("auto")
	cmd.Flag("pushgateway.unchecked", "Check here what a Pushgateway with --push.disable-consistency-check does not: that a push contradicts nothing it holds. Set it if, and only if, the one behind has that set; nobody else may write to it.").
		BoolVar(&s.unchecked)
	cmd.Flag("push.enable-utf8-names", "Accept UTF-8 metric and label names. In front of a Pushgateway set it if, and only if, that has it set.").
		BoolVar(&s.utf8Names)
	s.faults.add(cmd)
	s.audit.add(cmd)
	s.record.add(cmd)
	s.addWebFlags(cmd)
	s.limits.add(cmd)
	s.state.add(cmd)
	s.statsd.add(cmd)
	s.events.add(cmd)
	s.rhythms.add(cmd)
	s.memory.add(cmd)
	return s
}

func (s *serveCommand) addWebFlags(cmd *kingpin.CmdClause) {
	s.web = kingpinflag.AddFlags(cmd, ":9091")
	flag(cmd, "web.route-prefix", "Path below which every route of pushguard lies, such as /push.", &s.routePrefix, parseRoutePrefix).
		PlaceHolder("PATH")
	cmd.Flag("web.enable-lifecycle", "Permit PUT and POST of /-/reload, which read the policy file again as SIGHUP does (422: it has faults, and the policy before stays), and forward those of /-/quit, which stop the Pushgateway behind.").
		BoolVar(&s.enableLifecycle)
	cmd.Flag("web.enable-admin-api", "Forward PUT of /api/v1/admin/wipe, which empties the Pushgateway behind.").
		BoolVar(&s.enableAdminAPI)
	cmd.Flag("admin.listen-address", "Address for /guard/, /-/reload, /-/quit and /api/v1/admin/wipe, which --web.listen-address then does not serve. --web.config.file holds for both.").
		PlaceHolder("ADDRESS").StringVar(&s.adminAddress)
	cmd.Flag("web.trusted-proxies", "Networks of the proxies in front, such as 10.0.0.0/8: from them, the client's address is taken from X-Forwarded-For, for the log and the audit. Comma separated; repeatable.").
		PlaceHolder("CIDR").SetValue(networks{"web.trusted-proxies", &s.trustedProxies})
	flag(cmd, "web.read-timeout", "How long a client may take to send one whole request.", &s.readTimeout, parseTimeout).
		Default("1m")
	flag(cmd, "web.read-header-timeout", "How long a client may take to send the headers of one request.", &s.readHeaderTimeout, parseTimeout).
		Default("10s")
	flag(cmd, "web.idle-timeout", "How long a connection stays open for its next request.", &s.idleTimeout, parseTimeout).
		Default("2m")
	flag(cmd, "shutdown.timeout", "How long requests in flight may take to finish after SIGTERM or SIGINT.", &s.shutdownTimeout, parseTimeout).
		Default("30s")
}

// check finds the faults that no flag can find in itself alone.
func (s *serveCommand) check() error {
	if s.embedded() && s.gatewayConfigFile != "" {
		return flagFault("--pushgateway.config.file is for a Pushgateway behind: --pushgateway.url names none")
	}
	if s.embedded() && s.unchecked {
		return flagFault("--pushgateway.unchecked is for a Pushgateway behind: --pushgateway.url names none")
	}
	if err := errors.Join(s.faults.check(s.embedded(), len(s.leavingURLs) > 0, s.state.dir), s.checkFleet()); err != nil {
		return err
	}
	if err := errors.Join(s.audit.check(), s.record.check()); err != nil {
		return err
	}
	for _, address := range *s.web.WebListenAddresses {
		if !isListenAddress(address) {
			return flagFault("--web.listen-address: %q: want host:port or :port", cut(address))
		}
	}
	if s.adminAddress != "" && !isListenAddress(s.adminAddress) {
		return flagFault("--admin.listen-address: %q: want host:port or :port", cut(s.adminAddress))
	}
	if err := web.Validate(*s.web.WebConfigFile); err != nil {
		return flagFault("--web.config.file: %s", oneLine(err))
	}
	return nil
}

func isListenAddress(s string) bool {
	_, _, err := net.SplitHostPort(s)
	return err == nil || strings.HasPrefix(s, "vsock://")
}

// oneLine is the text of an error that YAML broke into lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// run serves until ctx ends or a signal comes, then finishes what is in flight.
func (s *serveCommand) run(ctx context.Context, logger *slog.Logger) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	s.memory.limit(logger)
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	s.policyStamp = policy.Stamp(s.policyFile, nil)
	rules, err := readPolicy(s.loadPolicy)
	if err != nil {
		return err
	}
	registry := processRegistry()
	s.open = newConnections(s.limits.connections, s.trustedProxies)
	registry.MustRegister(s.open)
	metrics := proxy.NewMetrics(registry)
	log, err := s.audit.open(logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	sender, err := s.statsd.sender(logger, s.shutdownTimeout)
	if err != nil {
		return err
	}
	known, err := s.state.open(ctx, s.gatewayTimeout, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, known.close()) }()

	snapshots, err := s.openBehind(metrics, known.dir, flagValues(s.cmd), quit, logger)
	if err != nil {
		return err
	}
	defer snapshots.close()
	events, err := s.events.open(known.dir, s.shutdownTimeout, logger)
	if err != nil {
		return err
	}
	cfg := s.guardConfig(rules, snapshots.Upstream, metrics, log, logger)
	cfg.Secret, cfg.Book = known.secret, known.book
	// Who checks every push has to know what there is, before the first.
	cfg.Restored = known.book != nil && known.book.Len() > 0 && !s.unchecked && !s.several() || snapshots.spool != nil
	cfg.Counters, cfg.Totals = known.counters, known.totals
	if known.fleet != nil {
		cfg.Fleet = known.fleet.log
	}
	if sender != nil {
		cfg.StatsD = sender
		registry.MustRegister(sender)
	}
	if cfg.Events = events; events != nil {
		registry.MustRegister(events)
	}
	if cfg.Record, err = s.record.open(known.dir, logger); err != nil {
		return err
	}
	if recorder := cfg.Record; recorder != nil {
		registry.MustRegister(recorder)
		defer func() { err = errors.Join(err, recorder.Close()) }()
	}
	registry.MustRegister(known.metrics(snapshots.store)...)
	registry.MustRegister(snapshots.metrics()...)
	pages := s.console(registry)
	cfg.Pages = pages
	guard, err := proxy.New(cfg)
	if err != nil {
		return err
	}
	pages.Of(guard)
	return s.live(ctx, logger, guard, pages, log, snapshots, sender, events, cfg.Record, &known)
}

// processRegistry returns a registry that knows of the process and the build.
func processRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		version.NewCollector("pushguard"),
	)
	return registry
}

func (s *serveCommand) guardConfig(rules *policy.Policy, upstream proxy.Upstream, metrics *proxy.Metrics, log *audit.Log, logger *slog.Logger) proxy.Config {
	return proxy.Config{
		Policy:          rules,
		LoadPolicy:      s.loadPolicy,
		Upstream:        upstream,
		Audit:           log,
		AuditAll:        s.audit.all,
		Logger:          logger,
		Metrics:         metrics,
		RoutePrefix:     s.routePrefix,
		EnableLifecycle: s.enableLifecycle,
		EnableAdminAPI:  s.enableAdminAPI,
		AdminApart:      s.adminAddress != "",
		TrustedProxies:  s.trustedProxies,
		UTF8Names:       s.utf8Names,
		TextAsProtobuf:  s.textAsProtobuf,
		Caps:            s.limits.caps(),
		Rhythm:          s.rhythms.rhythm(),
		Product:         product(),
		// As long as the push ahead of it may take.
		GroupWait: s.gatewayTimeout,
		Story:     story.Teller{File: s.policyName()}.Tell,
	}
}

// loadPolicy reads the policy in a file.
func loadPolicy(file string) (*policy.Policy, error) {
	return readPolicy(func() (*policy.Policy, error) { return policy.Load(file) })
}

// readPolicy says every fault of the policy on a line of its own, led by its place
// in the file.
func readPolicy(load func() (*policy.Policy, error)) (*policy.Policy, error) {
	p, err := load()
	if faults := policy.Faults(nil); errors.As(err, &faults) {
		return nil, usageError{faults.Error()}
	}
	if err != nil {
		return nil, flagFault("--policy.file: %v", err)
	}
	return p, nil
}

// live runs the lifecycles: the first that ends ends all, and all are awaited.
func (s *serveCommand) live(ctx context.Context, logger *slog.Logger, guard *proxy.Guard, pages *console.Console, log *audit.Log, snapshots *behind, sender *statsd.Sender, events *event.Log, recorder *record.Recorder, known *memory) error {
	var group oklogrun.Group
	var unfinished error
	group.Add(oklogrun.SignalHandler(ctx, os.Interrupt, syscall.SIGTERM))
	serve := func(ready string, handler http.Handler, flags *web.FlagConfig) {
		server := s.server(logger, ready, handler)
		server.RegisterOnShutdown(pages.Close)
		if flags == s.web {
			server.ConnState = s.open.state
		}
		group.Add(func() error {
			return web.ListenAndServe(server, flags, logger)
		}, func(error) {
			unfinished = errors.Join(unfinished, s.shutdown(server))
		})
	}
	serve("Ready", guard.Handler(), s.web)
	if s.adminAddress != "" {
		serve("Ready for the admin", guard.AdminHandler(), &web.FlagConfig{
			WebListenAddresses: &[]string{s.adminAddress},
			WebConfigFile:      s.web.WebConfigFile,
		})
	}
	group.Add(reloadOnSIGHUP(ctx, guard, log))
	if s.policyWatch > 0 && s.policyFile != "" {
		group.Add(s.watchPolicy(ctx, guard))
	}
	for _, u := range snapshots.gateways {
		group.Add(s.utf8Check(ctx, logger, u))
		group.Add(s.uncheckedCheck(ctx, logger, u))
	}
	group.Add(inContext(ctx, guard.Run))
	group.Add(inContext(ctx, pages.Run))
	if snapshots.spool != nil {
		group.Add(inContext(ctx, snapshots.spool.Run))
	}
	group.Add(s.memory.run(ctx))
	// What comes below is interrupted once no request is left.
	group.Add(inContext(ctx, log.Run))
	if recorder != nil {
		group.Add(runRecorder(ctx, recorder))
	}
	if sender != nil {
		group.Add(runSender(ctx, sender))
	}
	if events != nil {
		group.Add(runEvents(ctx, events))
	}
	if known.dir != nil {
		group.Add(known.run(logger))
		if snapshots.store != nil {
			group.Add(runStore(snapshots.store, logger))
		}
	}

	err := group.Run()
	if errors.Is(err, oklogrun.ErrSignal) || ctx.Err() != nil {
		logger.Info("Stopped", "reason", err)
		err = nil
	}
	return errors.Join(err, unfinished)
}

// inContext is a lifecycle that ends with its context.
func inContext(ctx context.Context, run func(context.Context) error) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	return func() error { return run(ctx) }, func(error) { cancel() }
}

// reloadOnSIGHUP is a lifecycle that at every SIGHUP reads the policy again, of which
// the guard itself says in its log and metrics what came, and follows an audit log
// that was moved.
func reloadOnSIGHUP(ctx context.Context, guard *proxy.Guard, log *audit.Log) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	return func() error {
		defer signal.Stop(hangups)
		for {
			select {
			case <-hangups:
				log.Reopen()
				_ = guard.Reload()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}, func(error) { cancel() }
}

// server gives clients that are slow on purpose a limit for every phase of a
// request, and none to the answer: a profile of the Pushgateway takes as long
// as it was asked to.
func (s *serveCommand) server(logger *slog.Logger, ready string, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadTimeout:       s.readTimeout,
		ReadHeaderTimeout: s.readHeaderTimeout,
		IdleTimeout:       s.idleTimeout,
		MaxHeaderBytes:    http.DefaultMaxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
		// Called once for each listener, when it begins to serve.
		BaseContext: func(l net.Listener) context.Context {
			logger.Info(ready, "address", l.Addr().String(), "pushgateway", s.behindName(), "policy", s.policyName())
			return context.Background()
		},
	}
}

// shutdown lets requests in flight finish, and cuts off those that take too
// long.
func (s *serveCommand) shutdown(server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.shutdownTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests in flight were cut off after --shutdown.timeout=%v", s.shutdownTimeout), server.Close())
	}
	return nil
}

// utf8Check is a lifecycle that warns once if the guard and the Pushgateway
// behind read names differently: pushes that one takes the other would refuse.
// A Pushgateway that does not say is no reason to warn.
func (s *serveCommand) utf8Check(ctx context.Context, logger *slog.Logger, upstream *gateway.Upstream) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	return func() error {
		enabled, err := upstream.UTF8Names(ctx)
		switch {
		case err != nil:
			logger.Debug("Whether the Pushgateway has --push.enable-utf8-names is unknown", "err", err)
		case enabled != s.utf8Names:
			logger.Warn("--push.enable-utf8-names is not what the Pushgateway behind has", "pushguard", s.utf8Names, "pushgateway", enabled)
		}
		<-ctx.Done()
		return ctx.Err()
	}, func(error) { cancel() }
}
