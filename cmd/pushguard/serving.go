package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"

	oklogrun "github.com/oklog/run"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/collectors/version"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/console"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/statsd"
	"github.com/pushguard/pushguard/proxy/story"
)

// serving is a guard at work: the parts that the flags ask for, and their lifecycles.
type serving struct {
	*serveCommand
	logger      *slog.Logger
	hangups     <-chan os.Signal // SIGHUP, from before there is a guard until there is none
	registry    *prometheus.Registry
	connections *connections // to the address of the jobs
	pressure    *pressure    // on the memory

	log      *audit.Log
	sender   *statsd.Sender // nil sends nothing
	known    memory
	behind   *behind
	eventLog *event.Log       // nil moves nothing
	recorder *record.Recorder // nil keeps nothing
	pages    *console.Console
	guard    *proxy.Guard

	closers    []func() error // of what is open, the last first
	unfinished error          // requests that were cut off
}

func newServing(s *serveCommand, logger *slog.Logger) *serving {
	w := &serving{serveCommand: s, logger: logger, registry: processRegistry(), pressure: newPressure()}
	w.connections = newConnections(s.limits.connections, s.limits.told, s.trustedProxies)
	w.registry.MustRegister(w.connections)
	return w
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

// open makes the parts and of them the guard; quit ends the process. What is open after
// an error is for close.
func (w *serving) open(ctx context.Context, quit func()) error {
	w.policyStamp = policy.Stamp(w.policyFile, nil)
	rules, err := readPolicy("policy.file", w.loadPolicy)
	if err != nil {
		return err
	}
	w.policyRead.besides = rules.Besides()
	metrics := proxy.NewMetrics(w.registry)
	if err := w.openParts(ctx, metrics, quit); err != nil {
		return err
	}
	w.registry.MustRegister(w.metrics()...)
	w.pages = w.console(w.registry)
	if w.guard, err = proxy.New(w.config(rules, metrics)); err != nil {
		return err
	}
	w.pages.Of(w.guard)
	return nil
}

func (w *serving) openParts(ctx context.Context, metrics *proxy.Metrics, quit func()) (err error) {
	if w.sender, err = w.statsd.sender(w.logger, w.shutdownTimeout); err != nil {
		return err
	}
	// First: a guard that has the directory still may be writing the files of this one.
	if w.known, err = w.state.open(ctx, w.gatewayTimeout, w.logger); err != nil {
		return err
	}
	w.closes(w.known.close)
	defer w.known.sayDamage(w.logger)
	if w.log, err = w.audit.open(w.logger); err != nil {
		return err
	}
	w.closes(w.log.Close)
	if w.behind, err = w.openBehind(metrics, w.known.dir, flagValues(w.cmd), quit, w.logger); err != nil {
		return err
	}
	w.closes(w.behind.close)
	if w.eventLog, err = w.events.open(w.known.dir, w.shutdownTimeout, w.logger); err != nil {
		return err
	}
	if w.recorder, err = w.record.open(w.known.dir, w.logger); err == nil && w.recorder != nil {
		w.closes(w.recorder.Close)
	}
	return err
}

func (w *serving) closes(f func() error) { w.closers = append(w.closers, f) }

// close closes what is open.
func (w *serving) close() (err error) {
	for _, f := range slices.Backward(w.closers) {
		err = errors.Join(err, f())
	}
	return err
}

// metrics are what the parts say of themselves.
func (w *serving) metrics() []prometheus.Collector {
	all := slices.Concat(w.known.metrics(w.behind), w.behind.metrics())
	if w.sender != nil {
		all = append(all, w.sender)
	}
	if w.eventLog != nil {
		all = append(all, w.eventLog)
	}
	if w.recorder != nil {
		all = append(all, w.recorder)
	}
	return all
}

// config is that of a guard made of the parts.
func (w *serving) config(rules *policy.Policy, metrics *proxy.Metrics) proxy.Config {
	cfg := proxy.Config{
		Policy:          rules,
		LoadPolicy:      w.loadPolicyAgain,
		Upstream:        w.behind.Upstream,
		Audit:           w.log,
		AuditAll:        w.audit.all,
		Logger:          w.logger,
		Metrics:         metrics,
		Pages:           w.pages,
		Secret:          w.known.secret,
		Book:            w.known.book,
		Restored:        w.knowsUpstream(),
		Counters:        w.known.counters,
		Totals:          w.known.totals,
		Events:          w.eventLog,
		Record:          w.recorder,
		RoutePrefix:     w.routePrefix,
		EnableLifecycle: w.enableLifecycle,
		EnableAdminAPI:  w.enableAdminAPI,
		AdminApart:      w.adminAddress != "",
		TrustedProxies:  w.trustedProxies,
		UTF8Names:       w.utf8Names,
		TextAsProtobuf:  w.textAsProtobuf,
		Caps:            w.limits.caps(),
		Rhythm:          w.rhythms.rhythm(),
		Pressure:        w.pressure.look,
		Troubles:        w.troubles,
		Product:         product(),
		// As long as the push ahead of it may take.
		GroupWait: w.gatewayTimeout,
		Story:     story.Teller{File: w.policyName()}.Tell,
	}
	if w.known.fleet != nil {
		cfg.Fleet = w.known.fleet.log
	}
	if w.behind.fleet != nil {
		cfg.Mover = w.behind.fleet
	}
	if w.sender != nil {
		cfg.StatsD = w.sender
	}
	return cfg
}

// troubles says what is not kept, or not shared.
func (w *serving) troubles() []string {
	out := w.known.troubles()
	if err := w.eventLog.Err(); err != nil {
		out = append(out, "events that wait are kept in memory alone: "+err.Error())
	}
	if err := w.log.Err(); err != nil {
		out = append(out, "the last audit record was lost: "+err.Error())
	}
	if w.recorder.Failing() {
		out = append(out, "the last push to be recorded was lost: the log says why")
	}
	return out
}

// knowsUpstream reports whether what is behind need not be read before the first push.
// Who checks every push, or places it, has to know what there is.
func (w *serving) knowsUpstream() bool {
	restored := w.known.book != nil && w.known.book.Len() > 0
	return restored && !w.unchecked && !w.several() || w.behind.spool != nil
}

// live runs the lifecycles: the first that ends ends all, and all are awaited.
func (w *serving) live(ctx context.Context) error {
	var group oklogrun.Group
	group.Add(stopOnSignal(ctx))
	if err := w.addServers(&group); err != nil {
		return err
	}
	w.addWatchers(ctx, &group)
	w.addKeepers(ctx, &group)
	err := group.Run()
	if errors.Is(err, oklogrun.ErrSignal) || ctx.Err() != nil {
		w.logger.Info("Stopped", "reason", err)
		err = nil
	}
	return errors.Join(err, w.unfinished)
}

// addWatchers adds what looks at the policy and at what is behind.
func (w *serving) addWatchers(ctx context.Context, group *oklogrun.Group) {
	group.Add(reloadOnSIGHUP(ctx, w.hangups, w.guard, w.log))
	if w.policyWatch > 0 && w.policyFile != "" {
		group.Add(w.watchPolicy(ctx, w.guard))
	}
	for _, u := range w.behind.gateways {
		group.Add(w.utf8Check(ctx, w.logger, u))
		group.Add(w.uncheckedCheck(ctx, w.logger, u))
	}
	group.Add(inContext(ctx, w.guard.Run))
	group.Add(inContext(ctx, w.pages.Run))
	if w.behind.spool != nil {
		group.Add(inContext(ctx, w.behind.spool.Run))
	}
	group.Add(w.memory.run(ctx))
	group.Add(w.memory.floor(ctx))
	if w.known.fleet != nil {
		group.Add(inContext(ctx, w.known.fleet.run))
	}
}

// addKeepers adds what keeps and passes on what requests left. They are interrupted in
// the order they were added, so these once no request is left.
func (w *serving) addKeepers(ctx context.Context, group *oklogrun.Group) {
	group.Add(inContext(ctx, w.log.Run))
	if w.recorder != nil {
		group.Add(runRecorder(ctx, w.recorder))
	}
	if w.sender != nil {
		group.Add(runSender(ctx, w.sender))
	}
	if w.eventLog != nil {
		group.Add(runEvents(ctx, w.eventLog))
	}
	if w.known.dir == nil {
		return
	}
	group.Add(w.known.run(w.logger))
	if w.behind.store != nil {
		group.Add(keeping(w.behind.store.Run, "The groups cannot be written: what is new is kept in memory alone", w.logger))
	}
	if w.behind.fleet != nil {
		group.Add(keeping(w.behind.fleet.Run, "How old moved groups are cannot be written: it is kept in memory alone", w.logger))
	}
}

// stopOnSignal is a lifecycle that ends with SIGINT or SIGTERM. Unlike oklogrun's it
// takes them from now on: one that came while the servers begin would end the process
// with what is in flight.
func stopOnSignal(ctx context.Context) (execute func() error, interrupt func(error)) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	return inContext(ctx, func(ctx context.Context) error {
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			return &oklogrun.SignalError{Signal: s}
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

// inContext is a lifecycle that ends with its context.
func inContext(ctx context.Context, run func(context.Context) error) (execute func() error, interrupt func(error)) {
	ctx, cancel := context.WithCancel(ctx)
	return func() error { return run(ctx) }, func(error) { cancel() }
}

// reloadOnSIGHUP is a lifecycle that at every SIGHUP reads the policy again, of which
// the guard itself says in its log and metrics what came, and follows an audit log
// that was moved.
func reloadOnSIGHUP(ctx context.Context, hangups <-chan os.Signal, guard *proxy.Guard, log *audit.Log) (execute func() error, interrupt func(error)) {
	return inContext(ctx, func(ctx context.Context) error {
		for {
			select {
			case <-hangups:
				log.Reopen()
				_ = guard.Reload()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}
