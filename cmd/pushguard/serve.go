package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/exporter-toolkit/web"
	"github.com/prometheus/exporter-toolkit/web/kingpinflag"

	"github.com/pushguard/pushguard/policy"
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
	policyRead  policyRead
	utf8Names   bool

	audit   auditFlags
	record  recordFlags
	limits  limitFlags
	state   stateFlags
	statsd  statsdFlags
	events  eventFlags
	rhythms rhythmFlags
	memory  memoryFlags
}

func newServeCommand(app *kingpin.Application) *serveCommand {
	s := &serveCommand{}
	s.cmd = app.Command("serve", "Take the requests of a Pushgateway's clients and hold every push to the policy. What it permits is kept and served here, or forwarded to a Pushgateway behind.")
	cmd := s.cmd
	cmd.Flag("pushgateway.url", "URL of the Pushgateway behind, with its route prefix if it has one. Repeated, jobs are spread over several. By default there is none: the guard keeps the snapshots itself, and serves them at /metrics.").
		PlaceHolder("URL").SetValue(upstreams{"pushgateway.url", &s.gatewayURLs})
	cmd.Flag("pushgateway.leaving", "URL of a Pushgateway that is to be taken out of several: its groups move to the others, and it gets no new ones. Repeatable.").
		PlaceHolder("URL").SetValue(upstreams{"pushgateway.leaving", &s.leavingURLs})
	flag(cmd, "pushgateway.config.file", "File that says how to speak to the Pushgateway behind: basic_auth, authorization, oauth2, tls_config, http_headers or a proxy, as in Prometheus' http_config. What it sets replaces what a client sends. Redirects and HTTP/2 are never used. Without the file, clients' own credentials are forwarded.", &s.gatewayConfigFile, parseGiven).
		PlaceHolder("FILE")
	flag(cmd, "policy.file", "The policy: a file, or a folder of files, *.yml and *.yaml but for *_test.yml, in the order of their names. By default the one built in, which is deploy/policy.example.yml: enforced without a Pushgateway behind, in report in front of one.", &s.policyFile, parseGiven).
		PlaceHolder("FILE")
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
	cmd.Flag("web.enable-lifecycle", "Permit PUT and POST of /-/reload, which read the policy file again as SIGHUP does (422: it has faults, and the policy before stays), and of /-/quit, which stop the Pushgateway behind, or the guard where there is none.").
		BoolVar(&s.enableLifecycle)
	cmd.Flag("web.enable-admin-api", "Permit PUT of /api/v1/admin/wipe, which empties the Pushgateway behind, or the guard where there is none.").
		BoolVar(&s.enableAdminAPI)
	flag(cmd, "admin.listen-address", "Address for /guard/, /-/reload, /-/quit and /api/v1/admin/wipe, which --web.listen-address then does not serve. --web.config.file holds for both.", &s.adminAddress, parseGiven).
		PlaceHolder("ADDRESS")
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
	if s.record.file != "" && filepath.Clean(s.record.file) == filepath.Clean(s.audit.file) {
		return flagFault("--record.file=%q: --audit.file names it, too", cut(s.record.file))
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
	signal.Ignore(syscall.SIGPIPE) // a write fails where nobody reads stdout or stderr any more
	// From here to the end: a SIGHUP that came while the state is read, or while requests
	// finish, would end the process.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	s.memory.limit(logger)
	s.limits.within(debug.SetMemoryLimit(-1), logger)
	addresses := 1
	if s.adminAddress != "" {
		addresses = 2
	}
	s.limits.withinFiles(openFiles(), addresses, logger)
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	w := newServing(s, logger)
	w.hangups = hangups
	defer func() { err = errors.Join(err, w.close()) }()
	if err := w.open(ctx, quit); err != nil {
		return err
	}
	return w.live(ctx)
}

// loadPolicy reads the policy in the file that the flag names.
func loadPolicy(flag, file string) (*policy.Policy, error) {
	return readPolicy(flag, func() (*policy.Policy, error) { return policy.Load(file) })
}

// readPolicy says every fault of the policy on a line of its own, led by its place
// in the file.
func readPolicy(flag string, load func() (*policy.Policy, error)) (*policy.Policy, error) {
	p, err := load()
	if faults := policy.Faults(nil); errors.As(err, &faults) {
		return nil, usageError{faults.Error()}
	}
	if err != nil {
		return nil, flagFault("--%s: %v", flag, err)
	}
	return p, nil
}
