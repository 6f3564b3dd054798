// Package proxy is the guard itself: the way of one push from a client's request
// to the upstream, and the HTTP face around it.
//
// Guard.Push is the order of the steps. Everything before the ledger decides on
// the side and changes nothing anywhere; what a later step refuses, no earlier
// one has to undo.
package proxy

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/wire"
	"github.com/pushguard/pushguard/rules/finding"
)

// Caps are hard limits of one push. They hold in every mode of the policy and
// bound the memory a push can take. Every one must be positive.
type Caps struct {
	Body       int64 // bytes as received
	Decoded    int64 // bytes after Content-Encoding is undone
	Samples    int   // series, histograms and summaries expanded
	Labels     int   // labels of one series
	LabelValue int   // bytes of one label value
	// Series is how many the upstream may hold, the guard's own totals included; a
	// push that brings more is refused. 0 is no cap, and the only one that may be.
	Series int
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
	// Audit gets a record of each push that was refused or changed, with AuditAll
	// of every push. Nil writes none.
	Audit    *audit.Log
	AuditAll bool
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
	// Restored says that the Book knows the upstream from before: pushes go on
	// while Run finds out what others have changed since.
	Restored bool
	// Rhythm is how often Run looks after the upstream.
	Rhythm Rhythm
	// Product is how the guard names itself to clients, such as pushguard/1.0.
	Product string
	// GroupWait bounds how long a push waits for another of the same group, and
	// for the upstream to say which groups it holds; for that at least a second.
	GroupWait time.Duration
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

// Guard judges pushes and forwards what the policy permits. It is safe for
// concurrent use.
type Guard struct {
	cfg    Config
	logger *slog.Logger
	seed   uint64       // of fingerprints, secret
	book   *ledger.Book // what the upstream holds
	shadow *ledger.Book // what enforcement would hold of the jobs in report
	epoch  atomic.Pointer[epoch]
	found  *jobFindings

	demand  *demand.Estimator // of labels, before any rule
	hasher  *counter.Hasher   // of counters
	outputs *outputs
	leaving leaving

	upstreamStarted time.Time // as it said when its groups were listed last; Run's own

	reloading sync.Mutex // serialises reading the policy again

	syncing chan struct{} // taken while the upstream's groups are read
	synced  atomic.Int64  // when their last reading began, in Unix nanoseconds; 0: never
	doubt   atomic.Int64  // when to read them again, in Unix nanoseconds; 0: no need
}

// epoch is a policy and the verdicts it has come to. They are swapped together,
// so that no push is judged by two policies.
type epoch struct {
	policy   *policy.Policy
	verdicts *verdicts
}

// folds reports whether the policy can make the group of this push that of other
// grouping keys, too, and keeps what they pushed.
func (e *epoch) folds(v *passage) bool {
	if v.request.Method == http.MethodPut && v.entry.Merge == policy.MergeReplace {
		return false
	}
	return v.entry.Rules.FoldsKeys() || e.policy.FoldsJobs()
}

// New returns a guard. It opens no connection.
func New(cfg Config) (*Guard, error) {
	switch {
	case cfg.Policy == nil, cfg.Upstream == nil, cfg.Metrics == nil:
		return nil, errors.New("a guard needs a policy, an upstream and metrics")
	case cfg.Caps.Body <= 0, cfg.Caps.Decoded <= 0, cfg.Caps.Samples <= 0, cfg.Caps.Labels <= 0, cfg.Caps.LabelValue <= 0:
		return nil, fmt.Errorf("every cap must be positive: %+v", cfg.Caps)
	}
	g := &Guard{
		cfg: withMemory(cfg), logger: cfg.Logger,
		shadow: ledger.NewBook(ledger.Config{Wait: cfg.GroupWait}),
		found:  newJobFindings(time.Now), demand: demand.New(demand.Config{}), outputs: newOutputs(),
		syncing: make(chan struct{}, 1),
	}
	g.book, g.seed = g.cfg.Book, binary.LittleEndian.Uint64(g.cfg.Secret[:])
	g.hasher = counter.NewHasher(g.cfg.Secret[:])
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Restored {
		g.synced.Store(1) // long ago
	}
	g.SetPolicy(cfg.Policy)
	cfg.Metrics.watch(g)
	return g, nil
}

// withMemory fills in what is kept in memory where no state is given.
func withMemory(cfg Config) Config {
	if cfg.Book == nil {
		cfg.Book = ledger.NewBook(ledger.Config{Wait: cfg.GroupWait})
	}
	if cfg.Secret == [32]byte{} {
		_, _ = rand.Read(cfg.Secret[:]) // never fails
	}
	if cfg.Counters == nil {
		cfg.Counters = counter.NewBook(counter.Config{})
	}
	if cfg.Totals == nil {
		cfg.Totals = counter.NewTotals(counter.TotalsConfig{})
	}
	return cfg
}

// Push takes one write, a push or a delete, through all its steps and returns
// what the client is answered. It keeps nothing of the request.
func (g *Guard) Push(ctx context.Context, r Request) Answer {
	var answer Answer
	g.take(ctx, r, func(a Answer) bool {
		answer = a
		return true
	})
	return answer
}

// take is Push with a reply, which reports whether the client got it. A client
// that did not will push the same again, and it is to count once.
func (g *Guard) take(ctx context.Context, r Request, reply func(Answer) bool) {
	v := passages.Get().(*passage)
	defer passages.Put(v)
	v.reset()
	v.request, v.started = r, time.Now()
	if g.cfg.Trace != nil {
		v.trace = &Trace{}
	}
	defer g.release(v)
	e := g.epoch.Load()
	answer, err := g.pass(ctx, v, e)
	if err != nil {
		answer = g.refusal(v, err)
	}
	g.account(v, e, answer)
	answer.counted = v.counts.committed && v.enforced()
	if !reply(answer) && answer.counted {
		g.cfg.Counters.Lost(v.counts.push)
	}
}

func (g *Guard) pass(ctx context.Context, v *passage, e *epoch) (Answer, error) {
	if err := v.address(e, g.options()); err != nil {
		return Answer{}, err
	}
	v.judgeKey()
	if v.request.Method == http.MethodDelete {
		return g.remove(ctx, v, e)
	}
	if err := v.read(g.cfg.Caps); err != nil {
		return Answer{}, err
	}
	parsing := time.Now()
	if err := v.parse(g.options()); err != nil {
		return Answer{}, err
	}
	judging := time.Now()
	v.judge(e)
	g.classify(v)
	v.merge()
	v.traceBody()
	g.cfg.Metrics.judged(judging.Sub(parsing), time.Since(judging))
	if v.refused() && v.enforced() {
		return Answer{}, errPolicy
	}
	return g.forward(ctx, v, e)
}

func (g *Guard) options() wire.Options {
	c := g.cfg.Caps
	return wire.Options{
		Limits:    wire.Limits{Samples: c.Samples, Labels: c.Labels, LabelValue: c.LabelValue},
		UTF8Names: g.cfg.UTF8Names,
	}
}

// forward sends a permitted push on, serialised with all others of its group,
// and within the budget of its job where the policy is enforced.
func (g *Guard) forward(ctx context.Context, v *passage, e *epoch) (Answer, error) {
	c := g.claim(v, e)
	grant, err := g.admit(ctx, c.Claim)
	if v.noteOverBudget(c, err) {
		return Answer{}, errPolicy
	}
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown) // of a step that panics
	v.traceGrant(c.Claim, grant)
	v.noteSharedFamilies(grant.Shared)
	g.noteShadowed(v, grant)
	counters, err := g.settleOn(ctx, v, e, c, grant)
	if err != nil {
		grant.Settle(ledger.Untouched)
		return Answer{}, err
	}
	if counters != nil {
		defer counters.Settle(ledger.Untouched)
	}
	out := v.outgoing()
	out.Method, out.Key = grant.Method, c.Group
	answer, outcome, err := g.send(ctx, v, grant, counters, out)
	g.forecast(ctx, v, e, outcome == ledger.Applied)
	return answer, err
}

// settleOn does what the ledger said, and finds out what the push adds up to: the
// group is the push's own now. It returns the grant of the output series of its
// counters, nil if there are none.
func (g *Guard) settleOn(ctx context.Context, v *passage, e *epoch, c *claim, grant *ledger.Grant) (*ledger.Grant, error) {
	if v.enforced() {
		if err := v.noteRuling(c, grant.Ruling, e); err != nil {
			v.noteUnmergeable(err)
			return nil, errPolicy
		}
	}
	if !v.counts.any {
		return nil, nil
	}
	g.read(v, e)
	var counters *ledger.Grant
	if v.enforced() {
		var err error
		counters, err = g.admitCounters(ctx, v, e, g.book)
		if v.noteOverBudget(&v.counts.claim, err) {
			return nil, errPolicy
		}
		if err != nil {
			return nil, err
		}
	}
	if err := g.difference(v); err != nil && v.enforced() {
		if counters != nil {
			counters.Settle(ledger.Untouched)
		}
		return nil, errPolicy
	}
	v.traceCounters()
	return counters, nil
}

// remove sends a DELETE on. Where the policy folds keys it acts only for the run
// that pushed last, or for a group that stands upstream under the very key the
// client names, where that is another than the folded one: it is from before the
// policy.
func (g *Guard) remove(ctx context.Context, v *passage, e *epoch) (Answer, error) {
	if err := g.sync(ctx); err != nil {
		return Answer{}, err
	}
	if since, err := http.ParseTime(v.request.Header.Get("If-Unmodified-Since")); err == nil {
		return g.removeUnless(ctx, v, since)
	}
	claim := ledger.Claim{Group: v.raw, Raw: v.raw, Method: http.MethodDelete}
	before := !v.raw.Equal(v.group) && g.book.Has(v.raw)
	if v.enforced() && !v.refused() && !before {
		claim.Group, claim.Folds = v.group, e.folds(v)
	}
	v.refusals.Reset() // there is nothing in a DELETE to refuse
	grant, err := g.admit(ctx, claim)
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown)
	v.traceGrant(claim, grant)
	if grant.Skip {
		g.forgetCounters(ctx, v)
		grant.Settle(ledger.Untouched)
		return Answer{Status: http.StatusAccepted, outcome: Skipped}, nil
	}
	out := gateway.Request{Method: http.MethodDelete, Key: claim.Group, Header: v.request.Header, RemoteAddr: v.request.Peer}
	v.counts.forgets = true
	answer, outcome, err := g.send(ctx, v, grant, nil, out)
	if outcome == ledger.Applied && v.entry.Mode == policy.Report {
		g.forecastRemoval(ctx, v, e)
	}
	return answer, err
}

// forgetCounters has the counters of a group that its client deletes count in
// full from then on, as for a client that starts anew.
func (g *Guard) forgetCounters(ctx context.Context, v *passage) {
	g.hasher.Group(&v.counts.raw, v.raw.Labels())
	if err := g.cfg.Counters.Forget(context.WithoutCancel(ctx), v.counts.raw.Identity()); err != nil {
		g.logger.Warn("That a client deleted its group may not survive the end of the process", "job", v.raw.Job(), "err", err)
	}
}

// removeUnless is a DELETE on the condition that the group was not pushed to
// since: that of a sweep from outside, which addresses the group as the upstream
// lists it, and must not destroy what came after the listing.
func (g *Guard) removeUnless(ctx context.Context, v *passage, since time.Time) (Answer, error) {
	v.refusals.Reset() // there is nothing in a DELETE to refuse
	claim := ledger.Claim{Group: v.raw, Raw: v.raw, Method: http.MethodDelete, Sweep: true, IfOlder: since}
	grant, err := g.admit(ctx, claim)
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown)
	v.traceGrant(claim, grant)
	if grant.Skip {
		grant.Settle(ledger.Untouched)
		switch grant.Reason {
		case ledger.Fresh:
			return preconditionFailed("the group was pushed to since"), nil
		case ledger.Pinned:
			return preconditionFailed("the policy keeps the group: it tells of the job's last success"), nil
		default:
			return Answer{Status: http.StatusAccepted, outcome: Skipped}, nil
		}
	}
	out := gateway.Request{Method: http.MethodDelete, Key: v.raw, Header: v.request.Header, RemoteAddr: v.request.Peer}
	answer, outcome, err := g.send(ctx, v, grant, nil, out)
	if outcome == ledger.Applied && v.entry.Mode == policy.Report {
		g.forecastRemoval(ctx, v, g.epoch.Load())
	}
	return answer, err
}

func preconditionFailed(why string) Answer {
	a := textAnswer(http.StatusPreconditionFailed, "pushguard: "+why)
	a.outcome = Skipped
	return a
}

// admit books the claim. Groups that collide may be long gone from an upstream
// that restarted, so a collision is looked at once more before it is believed.
func (g *Guard) admit(ctx context.Context, c ledger.Claim) (*ledger.Grant, error) {
	if err := g.sync(ctx); err != nil {
		return nil, err
	}
	grant, err := g.book.Admit(ctx, c)
	if !errors.As(err, new(*ledger.TwinError)) {
		return grant, err
	}
	if err := g.resync(ctx, time.Now().Add(-resyncEvery)); err != nil {
		return nil, err
	}
	return g.book.Admit(ctx, c)
}

// send carries out a grant and settles it, and that of the counters if there are
// any. A client that goes away does not undo a push that it has sent whole; but
// it cannot know that, and will push again what it counted, so nothing counts.
func (g *Guard) send(ctx context.Context, v *passage, grant, counters *ledger.Grant, out gateway.Request) (Answer, ledger.Outcome, error) {
	answer, err := g.cfg.Upstream.Do(context.WithoutCancel(ctx), out)
	outcome := settlement(answer, err)
	gone := false
	if outcome == ledger.Applied && len(v.counts.readings) > 0 {
		if gone = v.enforced() && ctx.Err() != nil; !gone {
			g.commit(ctx, v)
		}
	}
	if outcome == ledger.Applied && v.counts.forgets {
		g.forgetCounters(ctx, v)
	}
	if counters != nil {
		if v.counts.committed {
			counters.Settle(ledger.Applied)
		} else {
			counters.Settle(ledger.Untouched)
		}
	}
	grant.Settle(outcome)
	if outcome == ledger.Applied {
		g.evict(ctx, v.job, grant.Evict)
	}
	if outcome == ledger.Unknown {
		g.doubtAfter(resyncEvery)
	}
	if err != nil {
		return Answer{}, outcome, err
	}
	v.upstreamStatus = answer.Status
	if gone {
		return Answer{}, outcome, errNotCounted
	}
	return passOn(answer), outcome, nil
}

// account writes down what became of a push.
func (g *Guard) account(v *passage, e *epoch, a Answer) {
	outcome := a.outcome
	if outcome == 0 {
		outcome = v.carriedOut(a)
	}
	g.cfg.Metrics.pushed(v, outcome)
	g.found.note(v.job, v.findings.All())
	if v.trace != nil {
		v.traced(g, e, a, outcome)
	}
	if !g.cfg.AuditAll && outcome == Passed && v.said() == Passed {
		return
	}
	g.cfg.Audit.Write(v.record(e, a, outcome))
}

func (v *passage) record(e *epoch, a Answer, outcome Outcome) audit.Record {
	r := audit.Record{
		Time: v.started, Method: v.request.Method, Client: v.request.Client,
		Policy: e.policy.Digest(), Outcome: outcome.String(),
		Status: a.Status, UpstreamStatus: v.upstreamStatus,
		Findings: v.findings.All(), MoreFindings: v.findings.More(),
		Samples: v.push.Expanded, Bytes: int64(len(v.decoded)),
		MS: float64(time.Since(v.started).Microseconds()) / 1000,
	}
	if v.entry == nil {
		return r
	}
	r.Job, r.Governed, r.Entry, r.Owner, r.Mode = v.raw.Job(), v.job, v.entry.Name, v.entry.Owner, string(v.entry.Mode)
	r.Group = v.raw.String()
	if v.enforced() {
		r.Group = v.group.String()
	} else if v.entry.Mode == policy.Report {
		r.Would = v.said().String()
	}
	return r
}

// noteSharedFamilies says that families of this push were another run's.
func (v *passage) noteSharedFamilies(shared []string) {
	if len(shared) == 0 {
		return
	}
	v.findings.Add(finding.Finding{
		ID: finding.SharedFamily, Metric: shared[0], Label: v.foldedLabel(), Count: len(shared),
		Fix: "runs that the policy folds into one group overwrite one another; give each its own metrics, or a bounded label",
	})
}
