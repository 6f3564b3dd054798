package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/config"
	"github.com/prometheus/common/version"
	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/shared"
)

// fleetFlags say with whom a guard shares what it knows, as given.
type fleetFlags struct {
	url, urlFile, name string
	timeout            time.Duration
	degrade            bool
	outageBytes        int64
	tlsFile            string
}

func (f *fleetFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "state.url", "Redis in which the guards of a fleet, all in front of one Pushgateway, share the ledger, counters' baselines and totals: redis://HOST:6379/0, rediss://USER:PASSWORD@HOST:6379 for TLS, or unix://PATH. While it does not answer, --state.on-outage says what becomes of pushes. See docs/many-guards.md.", &f.url, parseGiven).
		PlaceHolder("URL")
	flag(cmd, "state.url-file", "File with the URL of --state.url, which keeps its password off the command line.", &f.urlFile, parseGiven).
		PlaceHolder("FILE")
	flag(cmd, "state.tls-config.file", "File that says how to speak TLS to a Redis of rediss://: ca_file, cert_file, key_file, server_name, as in Prometheus' tls_config. Without it the certificate is checked by the system's authorities.", &f.tlsFile, parseGiven).
		PlaceHolder("FILE")
	flag(cmd, "state.fleet", "Name of the fleet, which leads all its keys in Redis: guards of one name share what they know.", &f.name, parseFleet).
		Default("pushguard")
	flag(cmd, "state.timeout", "How long the Redis may take to answer one request.", &f.timeout, parseTimeout).
		Default("1s")
	flag(cmd, "state.on-outage", "What a guard does while the Redis does not answer. fail_closed: it answers pushes 503. degrade: it goes on by itself within its share of what was left of each budget, keeps in memory what it did, and hands that in when the Redis is back.", &f.degrade, parseOnOutage).
		Default("fail_closed")
	flag(cmd, "state.outage-limit", "Most bytes of that memory. Beyond, pushes are answered 503 until the Redis is back.", &f.outageBytes, parseSize).
		Default("64MiB")
}

func parseOnOutage(s string) (degrade bool, err error) {
	if s != "fail_closed" && s != "degrade" {
		return false, errors.New("want fail_closed or degrade")
	}
	return s == "degrade", nil
}

var fleetName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func parseFleet(s string) (string, error) {
	if !fleetName.MatchString(s) {
		return "", errors.New("want up to 64 letters, digits, _, . and -")
	}
	return s, nil
}

// shares reports whether there are other guards.
func (f *fleetFlags) shares() bool { return f.url != "" || f.urlFile != "" }

// check finds what cannot be together with a fleet.
func (s *serveCommand) checkFleet() error {
	f := &s.state.fleet
	switch {
	case !f.shares() && f.tlsFile != "":
		return flagFault("--state.tls-config.file is for a Redis that guards share: --state.url names none")
	case !f.shares() && f.degrade:
		return flagFault("--state.on-outage=degrade is for guards that share a Redis: --state.url names none")
	case !f.shares():
		return nil
	case f.url != "" && f.urlFile != "":
		return flagFault("--state.url and --state.url-file both name a Redis: give one of them")
	case s.embedded():
		return flagFault("--state.url shares what guards know of one Pushgateway: name it with --pushgateway.url, since what a guard keeps by itself is not shared")
	case s.several():
		return flagFault("--state.url is for guards in front of one Pushgateway: --pushgateway.url names several")
	case s.faults.spool:
		return flagFault("--pushgateway.spool keeps pushes with one guard: it cannot be one of several with --state.url")
	case s.unchecked:
		return flagFault("--pushgateway.unchecked has one guard check every push against all that is stored: it cannot be one of several with --state.url")
	}
	return nil
}

func (f *fleetFlags) read() (string, error) {
	if f.urlFile == "" {
		return f.url, nil
	}
	text, err := os.ReadFile(f.urlFile)
	if err != nil {
		return "", flagFault("--state.url-file: %v", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// readTLS reads how to speak TLS to the Redis; nil is as its URL says.
func (f *fleetFlags) readTLS() (*tls.Config, error) {
	if f.tlsFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.tlsFile)
	if err != nil {
		return nil, flagFault("--state.tls-config.file: %v", err)
	}
	var written config.TLSConfig
	if err := yaml.Load(text, &written, yaml.WithKnownFields()); err != nil {
		return nil, flagFault("--state.tls-config.file: %s", oneLine(err))
	}
	written.SetDirectory(filepath.Dir(f.tlsFile))
	cfg, err := config.NewTLSConfig(&written)
	if err != nil {
		return nil, flagFault("--state.tls-config.file: %s", oneLine(err))
	}
	return cfg, nil
}

// together is what a guard shares.
type together struct {
	log    *shared.Log
	ended  chan struct{}
	failed chan error // why the guard can no longer take part
	stop   context.CancelFunc
}

// run is a lifecycle that ends once the guard can no longer take part.
func (f *together) run(ctx context.Context) error {
	select {
	case err := <-f.failed:
		return fmt.Errorf("--state.url: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// join has the guard take part, and returns once it knows what the others know.
func (f *fleetFlags) join(ctx context.Context, m *memory, wait time.Duration, logger *slog.Logger) error {
	url, err := f.read()
	if err != nil {
		return err
	}
	secure, err := f.readTLS()
	if err != nil {
		return err
	}
	log, err := shared.Open(ctx, shared.Config{
		URL: url, TLS: secure, Fleet: f.name, Timeout: f.timeout, Degrade: f.degrade, OutageBytes: int(f.outageBytes),
		Version: version.Version, Logger: logger,
	})
	if err != nil {
		return flagFault("--state.url: %v", err)
	}
	m.secret = log.Secret()
	m.book = ledger.Share(log, ledger.Config{Wait: wait, Secret: [16]byte(m.secret[16:])})
	m.counters, m.totals = counter.Share(log, counter.Config{}, counter.TotalsConfig{})
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.fleet = &together{log: log, ended: make(chan struct{}), failed: make(chan error, 1), stop: stop}
	joined := make(chan struct{})
	go func() {
		defer close(m.fleet.ended)
		m.fleet.failed <- log.Join(running, func() { close(joined) })
	}()
	select {
	case <-joined:
		logger.Info("Joined the fleet", "fleet", f.name, "guards", log.Guards(), "groups", m.book.Len(), "series", m.book.Series())
		return nil
	case err := <-m.fleet.failed:
		return fmt.Errorf("--state.url: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close says farewell, once no request is left.
func (f *together) close() error {
	f.stop()
	<-f.ended
	if err := f.log.Close(); err != nil {
		return fmt.Errorf("leaving the fleet: %w", err)
	}
	return nil
}
