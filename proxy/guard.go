// Package proxy is the guard itself: the way of one push from a client's request
// to the upstream, and the HTTP face around it.
//
// Guard.pass is the order of the steps. Everything before the ledger decides on
// the side and changes nothing anywhere; what a later step refuses, no earlier
// one has to undo.
package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/policy/credential"
	"github.com/pushguard/pushguard/proxy/admission"
	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
	"github.com/pushguard/pushguard/proxy/seldom"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/wire"
)

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
	// outlooks are what enforcement would have made of what came to jobs in report.
	outlooks *outlooks
	// searching is held by the one who searches the audit log.
	searching chan struct{}
	// explaining is held by the one whose push is explained.
	explaining chan struct{}

	demand  *demand.Estimator // of labels, before any rule
	hasher  *counter.Hasher   // of counters
	checker *credential.Checker
	outputs *outputs
	leaving leaving
	gate    *admission.Gate // nil admits all at once
	readers readers         // of pages
	answers readers         // of the guard's own

	own pageOwner // the upstream, if it is a store of the guard's own

	upstreamStarted time.Time // as it said when its groups were listed last; Run's own

	reloading sync.Mutex // serialises reading the policy again
	reading   atomic.Pointer[reading]

	syncing chan struct{}             // taken while the upstream's groups are read
	synced  atomic.Pointer[time.Time] // when their last reading began; nil: never
	// untold are the groups that the first listing said nothing of, until one tells all;
	// nil: none.
	untold atomic.Pointer[func(wire.Key) bool]
	doubt  atomic.Pointer[time.Time] // when to read them again; nil: no need
	warn   warnings
}

// warnings are those that may befall every push at once.
type warnings struct {
	shed, uncounted, unforgotten   seldom.Warning
	unreachable, timeout, refusing seldom.Warning
	strange                        seldom.Warning
}

// epoch is a policy and the verdicts it has come to. They are swapped together,
// so that no push is judged by two policies.
type epoch struct {
	policy   *policy.Policy
	loaded   time.Time
	verdicts *verdicts
	known    *knowns // nil remembers nothing
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
	cfg = withMemory(cfg)
	g := &Guard{
		cfg: cfg, logger: cfg.Logger,
		shadow:   ledger.NewBook(ledger.Config{Wait: cfg.GroupWait, Now: cfg.Now}),
		outlooks: newOutlooks(cfg.Rhythm.Forecast), searching: make(chan struct{}, 1), explaining: make(chan struct{}, 1),
		found: newJobFindings(cfg.Now), demand: demand.New(demand.Config{Now: cfg.Now, Shape: shapeOf}), outputs: newOutputs(),
		syncing: make(chan struct{}, 1),
	}
	g.own, _ = cfg.Upstream.(pageOwner)
	if c := cfg.Caps; c.InFlight > 0 || c.InFlightBytes > 0 || cfg.Pressure != nil {
		g.gate = admission.New(admission.Config{InFlight: c.InFlight, Wait: c.Wait, Bytes: c.InFlightBytes})
	}
	g.book, g.seed = g.cfg.Book, binary.LittleEndian.Uint64(g.cfg.Secret[:])
	g.hasher, g.checker = counter.NewHasher(g.cfg.Secret[:]), credential.NewChecker()
	if g.logger == nil {
		g.logger = slog.New(slog.DiscardHandler)
	}
	g.readers.logger, g.answers.logger = g.logger, g.logger
	if cfg.Restored {
		g.synced.Store(&time.Time{}) // long ago
	}
	g.book.OnLoss(func() {
		if cfg.Fleet.Leads() {
			g.doubtAfter(resyncEvery)
		}
	})
	g.SetPolicy(cfg.Policy)
	g.learnRefusals()
	cfg.Metrics.watch(g)
	return g, nil
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
	v.request, v.started = r, g.cfg.Now()
	if g.cfg.Trace != nil {
		v.trace = &Trace{}
	}
	defer g.release(v)
	e := g.epoch.Load()
	answer, err := g.pass(ctx, v, e)
	if err != nil {
		answer = g.refusal(v, err)
	}
	g.account(ctx, v, e, answer)
	g.overtaken(v, e)
	answer.counted = v.counts.committed && v.enforced()
	if !reply(answer) && answer.counted {
		g.cfg.Counters.Lost(v.counts.push)
	}
}

// pass takes a write through the steps that decide about it, cheapest first: who may push
// and whether there is room is known before a byte of the body is read. The error is what
// the write is refused for.
func (g *Guard) pass(ctx context.Context, v *passage, e *epoch) (Answer, error) {
	if err := v.address(e, g.options()); err != nil {
		return Answer{}, err
	}
	if err := g.authorize(ctx, v, e); err != nil {
		return Answer{}, err
	}
	if err := g.room(v); err != nil {
		return Answer{}, err
	}
	if err := g.enter(v); err != nil {
		return Answer{}, err
	}
	defer v.place.Leave()
	v.judgeKey()
	if v.request.Method == http.MethodDelete {
		if err := v.place.Start(ctx); err != nil {
			return Answer{}, err
		}
		v.place.Rest()
		return g.remove(ctx, v, e)
	}
	if err := v.read(ctx, g.cfg.Caps); err != nil {
		return Answer{}, err
	}
	parsing := time.Now()
	if err := v.parse(e, g.options()); err != nil {
		return Answer{}, err
	}
	judging := time.Now()
	v.judge(e)
	v.remember(e)
	g.classify(v)
	v.merge()
	v.traceBody()
	if !v.foresees() {
		g.cfg.Metrics.judged(judging.Sub(parsing), time.Since(judging))
	}
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
	v.letClasses()
	c := g.claim(v, e)
	v.letMetrics()
	v.place.Rest() // it may wait for another push of its group, and in the end for the upstream
	grant, err := g.admit(ctx, v, c.Claim)
	if v.noteOverBudget(c, err) {
		return Answer{}, errPolicy
	}
	if err != nil {
		return Answer{}, err
	}
	defer grant.Settle(ledger.Unknown) // of a step that panics
	if g.own != nil {
		v.place.Resume() // until the store waits for its disk
	}
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
	if g.own != nil {
		v.letClaim() // what is stored comes beside what is left
	}
	out := v.outgoing(g.own == nil || v.foresees(), g.cfg.TextAsProtobuf && g.own == nil)
	out.Method, out.Key, out.Turn = grant.Method, c.Group, &v.place
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

// admit books the claim. Groups that collide may be long gone from an upstream
// that restarted, so a collision is looked at once more before it is believed.
func (g *Guard) admit(ctx context.Context, v *passage, c ledger.Claim) (*ledger.Grant, error) {
	if v.foresees() {
		return v.admit(ctx, g.book, c)
	}
	if err := g.sync(ctx, c.Group); err != nil {
		return nil, err
	}
	grant, err := g.book.Admit(ctx, c)
	if err != nil && errors.As(err, new(*ledger.TwinError)) {
		if err := g.resync(ctx, g.cfg.Now().Add(-resyncEvery)); err != nil {
			return nil, err
		}
		grant, err = g.book.Admit(ctx, c)
	}
	if err == nil && !g.cfg.Fleet.Current() {
		grant.Settle(ledger.Untouched)
		return nil, shared.ErrAway // it may be another guard's by now
	}
	return grant, err
}

// send carries out a grant and settles it, and that of the counters if there are
// any. A client that goes away does not undo a push that it has sent whole; but
// it cannot know that, and will push again what it counted, so nothing counts.
func (g *Guard) send(ctx context.Context, v *passage, grant, counters *ledger.Grant, out gateway.Request) (Answer, ledger.Outcome, error) {
	answer, err := g.do(ctx, v, out)
	outcome := settlement(answer, err)
	gone := false
	if outcome == ledger.Applied && len(v.counts.readings) > 0 {
		if gone = v.enforced() && v.request.gone(); !gone {
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
	if !v.foresees() {
		g.follow(ctx, v, outcome, grant.Evict)
		g.keepBooked(ctx, v)
	}
	if err != nil {
		return Answer{}, outcome, err
	}
	if !answer.Spooled {
		v.upstreamStatus = answer.Status
	}
	if gone {
		return Answer{}, outcome, errNotCounted
	}
	if !v.foresees() {
		g.warnOf(v, answer)
	}
	return passOn(answer), outcome, nil
}

// follow does what the outcome of a push makes necessary.
func (g *Guard) follow(ctx context.Context, v *passage, outcome ledger.Outcome, victims []wire.Key) {
	switch outcome {
	case ledger.Applied:
		g.evict(ctx, v.job, victims)
	case ledger.Unknown:
		g.doubtAfter(resyncEvery)
	}
}

// keepBooked waits until what the ledger booked of a write survives the process, while
// its client waits for the answer. A disk that takes nothing is no error of a push: the
// ledger goes on in memory, and says so.
func (g *Guard) keepBooked(ctx context.Context, v *passage) {
	if g.book.Write() {
		return
	}
	v.place.Rest()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTime)
	defer cancel()
	_ = g.book.Commit(ctx)
}
