package proxy

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// SetPolicy puts a policy in force, which must not be nil. A push under way is
// judged to its end by the policy it began with; those that begin after the
// return are judged by this one, and by nothing of the one before.
func (g *Guard) SetPolicy(p *policy.Policy) {
	g.reloading.Lock()
	defer g.reloading.Unlock()
	g.setPolicy(p)
}

// setPolicy swaps the epoch; the caller holds reloading.
func (g *Guard) setPolicy(p *policy.Policy) {
	e := &epoch{
		policy: p, loaded: g.cfg.Now(),
		verdicts: newVerdicts(g.seed, g.demand, g.cfg.TextAsProtobuf), known: newKnowns(),
	}
	old := g.epoch.Swap(e)
	now := g.cfg.Now()
	g.book.Regovern(func(job string) (int, ledger.Budget) {
		entry := p.Entry(job)
		return payer(entry), e.terms(entry, now)
	})
	g.leaving.forget()
	g.shadow.Wipe() // what it held was the other policy's forecast
	g.cfg.Metrics.loads.succeeded()
	last := &reading{at: e.loaded}
	if old != nil {
		last.before, last.changes = old.policy.Digest(), p.Diff(old.policy)
		g.logChanges(p, last)
	}
	g.reading.Store(last)
}

// reading is how the last reading of the policy went.
type reading struct {
	at      time.Time
	before  string   // the digest of the policy before
	changes []string // in words
	err     error
}

// changesLogged is how many changes of a policy the log tells one by one.
const changesLogged = 20

func (g *Guard) logChanges(p *policy.Policy, r *reading) {
	g.logger.Info("The policy was read again", "digest", p.Digest(), "before", r.before, "changes", len(r.changes))
	for i, c := range r.changes {
		if i == changesLogged {
			g.logger.Info("The policy changed further", "changes", len(r.changes)-i, "see", apiPath+"/policy")
			return
		}
		g.logger.Info("The policy changed", "change", c)
	}
}

// overtaken gives the job of a push that was judged by a policy of before the terms
// of the one in force: the push may have been booked after the reload.
func (g *Guard) overtaken(v *passage, judged *epoch) {
	e := g.epoch.Load()
	if e == judged || v.entry == nil {
		return
	}
	entry := e.policy.Entry(v.job)
	g.book.RegovernJob(v.job, payer(entry), e.terms(entry, g.cfg.Now()))
}

// errNoReload says that there is nothing to read a policy from.
var errNoReload = errors.New("there is no policy file to read again")

// Reload reads the policy by Config.LoadPolicy and puts it in force. If that
// fails, the policy in force stays, and the error is LoadPolicy's. Reloads go
// one after the other, so that what was read last is in force.
func (g *Guard) Reload() error {
	if g.cfg.LoadPolicy == nil {
		return errNoReload
	}
	g.reloading.Lock()
	defer g.reloading.Unlock()
	p, err := g.cfg.LoadPolicy()
	if err != nil {
		g.cfg.Metrics.loads.ok.Set(0)
		g.reading.Store(&reading{at: g.cfg.Now(), err: err})
		g.logger.Error("The policy was not read again, the one before stays in force", "digest", g.epoch.Load().policy.Digest(), "err", err)
		return err
	}
	g.setPolicy(p)
	return nil
}

// reload answers 200 when a policy is in force that was read after the request
// came, 422 with a fault a line where the file is no policy, and 500 where it
// cannot be read.
func (g *Guard) reload(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPut && r.Method != http.MethodPost:
		a := textAnswer(http.StatusMethodNotAllowed, gateway.OnlyByPush)
		a.Header.Set("Allow", "POST, PUT")
		_ = respond(w, a)
	case !g.cfg.EnableLifecycle:
		_ = respond(w, lifecycleDisabled())
	default:
		_ = respond(w, reloadAnswer(g.Reload()))
	}
}

func reloadAnswer(err error) Answer {
	switch {
	case err == nil:
		return Answer{Status: http.StatusOK}
	case errors.As(err, new(policy.Faults)):
		return textAnswer(http.StatusUnprocessableEntity, err.Error())
	default:
		return textAnswer(http.StatusInternalServerError, "pushguard: "+err.Error())
	}
}

// loads are the metrics of reading the policy, by the names that Prometheus has
// for its configuration.
type loads struct{ ok, at prometheus.Gauge }

func newLoads() loads {
	return loads{
		ok: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pushguard_policy_last_reload_successful",
			Help: "Whether the policy could be read the last time that was tried; if not, the one before is in force.",
		}),
		at: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pushguard_policy_last_reload_success_timestamp_seconds",
			Help: "When the policy in force was read.",
		}),
	}
}

func (l loads) succeeded() {
	l.ok.Set(1)
	l.at.SetToCurrentTime()
}

// policyInfo tells the policy in force by its digest, read when it is asked for:
// there is one at any time.
func policyInfo(g *Guard) prometheus.Collector {
	desc := prometheus.NewDesc("pushguard_policy_info", "1 for the policy in force, by its digest.", []string{"digest"}, nil)
	return prometheus.CollectorFunc(func(out chan<- prometheus.Metric) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1, g.epoch.Load().policy.Digest())
	})
}
