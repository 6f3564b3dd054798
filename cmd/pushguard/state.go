package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/state"
)

// stateFlags say what outlives the process, as given.
type stateFlags struct {
	dir      string
	wait     time.Duration
	sync     state.Sync
	interval time.Duration
	fleet    fleetFlags
}

func (f *stateFlags) add(cmd *kingpin.CmdClause) {
	f.fleet.add(cmd)
	flag(cmd, "state.dir", "Directory for what outlives the process: the snapshots, unless a Pushgateway has them, the ledger, counters' baselines and totals, and what waits: events, and pushes for a Pushgateway that is away. It belongs to one guard at a time. With --state.url it is for waiting events alone. By default all is kept in memory, and begins anew with the process.", &f.dir, parseGiven).
		PlaceHolder("DIR")
	flag(cmd, "state.lock-timeout", "How long to wait at the start for another guard to let go of --state.dir.", &f.wait, parseTimeout).
		Default("10s")
	flag(cmd, "state.sync", "When what is in --state.dir is made to survive the loss of power: always, before a push is answered; interval, in the background; or never, which leaves it to the system. The end of the process loses nothing in any case.", &f.sync, parseSync).
		Default("interval")
	flag(cmd, "state.sync-interval", "How often that is done with --state.sync=interval: the most that a loss of power can cost.", &f.interval, parseTimeout).
		Default("1s")
}

var syncs = map[string]state.Sync{"always": state.SyncAlways, "interval": state.SyncInterval, "never": state.SyncNever}

func parseSync(s string) (state.Sync, error) {
	sync, ok := syncs[s]
	if !ok {
		return 0, errors.New("want always, interval or never")
	}
	return sync, nil
}

// memory is what a guard knows from before. Its zero value is nothing: a guard
// that is given that begins anew.
type memory struct {
	dir    *state.Dir
	secret [32]byte
	book   *ledger.Book
	store  *counter.Store // nil if the counters are not in the directory

	counters *counter.Book
	totals   *counter.Totals
	fleet    *together // nil if nothing is shared
}

// open takes the state directory, if there is one, and reads what is in it, or joins
// the fleet that shares it.
func (f *stateFlags) open(ctx context.Context, wait time.Duration, logger *slog.Logger) (m memory, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, m.close())
		}
	}()
	if f.dir != "" {
		m.dir, err = state.Open(ctx, f.dir, state.Options{Wait: f.wait, Sync: f.sync, Interval: f.interval})
		if err != nil {
			return m, flagFault("--state.dir: %v", err)
		}
	}
	// Each fills in m, and so comes before a return of it: in one, which of the two is
	// evaluated first the language does not say.
	switch {
	case f.fleet.shares():
		err = f.fleet.join(ctx, &m, wait, logger)
	case f.dir != "":
		err = f.restore(&m, wait, logger)
	}
	return m, err
}

// restore reads what is in the state directory.
func (f *stateFlags) restore(m *memory, wait time.Duration, logger *slog.Logger) error {
	secret, fresh, err := m.dir.Secret("identity")
	if err != nil {
		return fmt.Errorf("--state.dir: %w", err)
	}
	m.secret = secret
	var restored ledger.Restored
	if m.book, restored, err = ledger.Open(m.dir, ledger.Config{Wait: wait, Secret: [16]byte(secret[16:])}); err != nil {
		return fmt.Errorf("--state.dir: %w", err)
	}
	if restored.Foreign > 0 {
		logger.Warn("Groups were kept under a secret that is lost: they are read from the Pushgateway again", "groups", restored.Foreign)
	}
	if m.store, err = counter.Open(m.dir, counter.Config{NewSecret: fresh}, counter.TotalsConfig{}); err != nil {
		return fmt.Errorf("--state.dir: %w", err)
	}
	m.counters, m.totals = m.store.Book, m.store.Totals
	logger.Info("The state was restored", "dir", f.dir, "groups", m.book.Len(), "series", m.book.Series(), "baselines", m.store.Book.Stats().Baselines)
	return nil
}

// sayDamage names what could not be read, once all who keep something have read it.
func (m *memory) sayDamage(logger *slog.Logger) {
	if m.dir == nil {
		return
	}
	for _, d := range m.dir.Damage() {
		logger.Error("A part of the state could not be read and was set aside; the rest was restored", "damage", d.String())
	}
}

// run is a lifecycle that writes the logs anew when that is due.
func (m *memory) run(logger *slog.Logger) (execute func() error, interrupt func(error)) {
	done := make(chan struct{})
	report := reports("The state cannot be written: what is new is kept in memory alone", logger)
	return func() error {
		if m.store != nil {
			go m.store.Run(report)
			go m.book.Run(report)
		}
		<-done
		return nil
	}, func(error) { close(done) }
}

// reports has the log say what failed, unless that is because the directory was closed.
func reports(failed string, logger *slog.Logger) func(error) {
	return func(err error) {
		switch {
		case errors.Is(err, state.ErrClosed):
		case errors.Is(err, state.ErrGrows):
			logger.Error("The state is written, but not anew: its files grow until there is room for that", "err", err)
		default:
			logger.Error(failed, "err", err)
		}
	}
}

// metrics tell whether what is new is kept.
func (m *memory) metrics(b *behind) []prometheus.Collector {
	var out []prometheus.Collector
	if m.fleet != nil {
		out = m.fleet.log.Collectors()
	}
	if m.dir == nil {
		return out
	}
	kept := func(log string, failure func() error) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "pushguard_state_written", Help: "Whether what changes is written to the state directory, by log; 0 means that it is kept in memory alone until the disk takes it again.",
			ConstLabels: prometheus.Labels{"log": log},
		}, func() float64 {
			if failure() != nil {
				return 0
			}
			return 1
		})
	}
	damaged := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pushguard_state_damages", Help: "Parts of the state directory that could not be read at the start, and were set aside.",
	}, func() float64 { return float64(len(m.dir.Damage())) })
	out = append(out, damaged)
	if m.store != nil {
		out = append(out, kept("ledger", m.book.Err), kept("counters", m.store.Err))
	}
	if b.store != nil {
		out = append(out, kept("groups", b.store.Err))
	}
	if b.fleet != nil {
		out = append(out, kept("moved", b.fleet.Err))
	}
	return out
}

// troubles says what is not kept, or not shared, to whoever asks how the guard is. Of the
// snapshots their store tells.
func (m *memory) troubles() (out []string) {
	if m.dir != nil && m.store != nil {
		for _, err := range []error{m.book.Err(), m.store.Err()} {
			if err != nil {
				out = append(out, "what changes is kept in memory alone: "+err.Error())
				break
			}
		}
	}
	if m.fleet != nil && m.fleet.log.Away() {
		out = append(out, shared.Outage(m.fleet.log.Alone()))
	}
	return out
}

// close gives the directory free, and leaves the fleet.
func (m *memory) close() (err error) {
	if m.fleet != nil {
		err = m.fleet.close()
	}
	if m.dir != nil {
		err = errors.Join(err, m.dir.Close())
	}
	return err
}
