package proxy

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/event"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/record"
)

// Caps are hard limits of one push, and of all at once. They hold in every mode of the
// policy and bound the memory that pushes can take. Those of one push must be positive.
type Caps struct {
	Body       int64 // bytes as received
	Decoded    int64 // bytes after Content-Encoding is undone
	Samples    int   // series, histograms and summaries expanded
	Labels     int   // labels of one series
	LabelValue int   // bytes of one label value
	// Series is how many the upstream may hold, the guard's own totals included; a
	// push that brings more is refused. 0 is no cap.
	Series int
	// InFlight is how many pushes are worked on at once, Wait how long one may wait for
	// its turn, and InFlightBytes what all may hold, bodies and what is made of them, of
	// which a single push may have no more either: package admission has
	// the rest. 0 is no cap, and a Wait of a second.
	InFlight      int
	Wait          time.Duration
	InFlightBytes int64
}

// Config is what a Guard is made of.
type Config struct {
	// Policy decides about pushes, until Reload or SetPolicy. Required.
	Policy *policy.Policy
	// LoadPolicy reads the policy again for Reload, one call at a time. With nil
	// there is nothing to reload.
	LoadPolicy func() (*policy.Policy, error)
	// Upstream is the Pushgateway behind. Required.
	Upstream Upstream
	// Mover is what moves groups among several Pushgateways behind. Nil moves none.
	Mover Mover
	// TextAsProtobuf has a text push that is enforced go on as delimited protobuf,
	// which costs a Pushgateway half, where that is the same push. Every other goes on
	// in the encoding in which it came, and so does a large one of which nothing is
	// changed.
	TextAsProtobuf bool
	// Audit gets a record of each push that was refused or changed, with AuditAll
	// of every push. Nil writes none.
	Audit    *audit.Log
	AuditAll bool
	// Record gets pushes for a later replay. Nil gets none.
	Record *record.Recorder
	// Events gets what Prometheus does not: what the policy takes for an event, and
	// what the guard takes away, refuses or deletes. Nil gets nothing.
	Events *event.Log
	// Logger is told what an operator should know. Nil is told nothing.
	Logger *slog.Logger
	// Metrics counts what the guard does. Required.
	Metrics *Metrics
	// RoutePrefix is the path below which everything is served, such as /push;
	// empty for the root.
	RoutePrefix string
	// EnableLifecycle permits /-/reload and forwards /-/quit, EnableAdminAPI
	// forwards /api/v1/admin/wipe.
	EnableLifecycle, EnableAdminAPI bool
	// Pages are served to people below /guard/. Nil is none.
	Pages http.Handler
	// AdminApart keeps what AdminHandler serves out of Handler.
	AdminApart bool
	// TrustedProxies are the peers whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// UTF8Names must be what the upstream's --push.enable-utf8-names is.
	UTF8Names bool
	Caps      Caps
	// Counters keep the baselines of what is added up, and Totals the sums, unless
	// StatsD is set, which then gets the increments of every entry that does not
	// ask for totals. Nil Counters and Totals are kept in memory.
	Counters *counter.Book
	Totals   *counter.Totals
	StatsD   counter.Sink
	// Book is the ledger of what the upstream holds, and Secret what its
	// fingerprints and the identities of counters are keyed by: both are of one
	// state. A nil Book and a zero Secret are kept in memory.
	Book   *ledger.Book
	Secret [32]byte
	// Fleet are the guards that share Book, Counters and Totals with this one. Nil is
	// nobody.
	Fleet Fleet
	// Restored says that the Book knows the upstream from before: pushes go on
	// while Run finds out what others have changed since.
	Restored bool
	// Rhythm is how often Run looks after the upstream.
	Rhythm Rhythm
	// Now is the clock by which pushes are dated and what is old is told; nil is that
	// of the system. What the guard waits for, it waits for in real time. It is called
	// from many goroutines. Book, Counters and Totals have clocks of their own.
	Now func() time.Time
	// Pressure says how full the memory is that the process may take. It is called for
	// every push, from many goroutines. Nil is that there is room.
	Pressure func() Pressure
	// Troubles says what else keeps the guard from what it is for, a line each, to whoever
	// asks how it is. It is called from many goroutines. Nil is nothing.
	Troubles func() []string
	// Product is how the guard names itself to clients, such as pushguard/1.0.
	Product string
	// GroupWait bounds how long a push waits for another of the same group, and
	// for the upstream to say which groups it holds; for that at least a second.
	GroupWait time.Duration
	// AnyUser takes pushes, and answers reads, whoever sends them and whatever the
	// policy's auth says.
	AnyUser bool
	// Story tells an explanation to people. Nil is for machines alone.
	Story func(*Trace) string
	// Trace is told how each write went. It is called from many goroutines. Nil
	// costs nothing.
	Trace func(Trace)
}

// Upstream is the Pushgateway behind, as the guard needs it. *gateway.Upstream
// is one.
type Upstream interface {
	// Do sends a push or a delete, Forward a request to a listed endpoint.
	Do(ctx context.Context, r gateway.Request) (gateway.Answer, error)
	Forward(ctx context.Context, escapedPath string, r gateway.Request) (gateway.Answer, error)
	// Groups lists what it holds; the seed is that of the fingerprints.
	Groups(ctx context.Context, seed uint64) ([]gateway.Group, error)
	// Started says when it started.
	Started(ctx context.Context) (time.Time, error)
	// Proxy serves reads.
	Proxy() http.Handler
}

// Fleet is the guards that share what they know. *shared.Log is one.
type Fleet interface {
	// Leads reports whether this guard does what one is to do.
	Leads() bool
	// Current reports whether the others think that it is there, as far as it knows:
	// else what it was granted may be another's by now.
	Current() bool
}

// alone is the fleet of a guard that shares nothing.
type alone struct{}

func (alone) Leads() bool   { return true }
func (alone) Current() bool { return true }

// withMemory fills in the clock, and what is kept in memory where no state is
// given.
func withMemory(cfg Config) Config {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Fleet == nil {
		cfg.Fleet = alone{}
	}
	if cfg.Book == nil {
		cfg.Book = ledger.NewBook(ledger.Config{Wait: cfg.GroupWait, Now: cfg.Now})
	}
	if cfg.Secret == [32]byte{} {
		_, _ = rand.Read(cfg.Secret[:]) // never fails
	}
	if cfg.Counters == nil {
		cfg.Counters = counter.NewBook(counter.Config{Now: cfg.Now})
	}
	if cfg.Totals == nil {
		cfg.Totals = counter.NewTotals(counter.TotalsConfig{Now: cfg.Now})
	}
	return cfg
}
