package proxy

import (
	"context"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/ledger"
)

// Explain tells step by step what Push would make of a write now. It is the way of
// every write, by the policy in force and all that the guard holds, and changes
// nothing: nothing is booked, sent, counted or written down, here or upstream. What a
// checked Pushgateway refuses for the sake of other groups it does not know.
//
// As whom the write is sent the header does not say, but as; with an empty one it is
// somebody who may push. The error says that the guard does not know yet what the
// upstream holds.
func (g *Guard) Explain(ctx context.Context, r Request, as string) (*Trace, error) {
	if !g.known() {
		return nil, errNotReady
	}
	v := passages.Get().(*passage)
	defer passages.Put(v)
	v.reset()
	v.request, v.started, v.trace = r, g.cfg.Now(), &Trace{}
	v.foresight = &foresight{as: as, totals: g.cfg.Totals.Foresee(), outputs: newOutputs()}
	e := g.epoch.Load().apart(g)
	answer, err := g.pass(ctx, v, e)
	if err != nil {
		answer = g.refusal(v, err)
	}
	outcome := v.outcome(answer)
	v.traceEvents(v.events(e, answer, outcome))
	v.traced(g, e, answer, outcome)
	return v.trace, nil
}

// foresight is what a write that is only explained has in place of what it must not
// change.
type foresight struct {
	as      string // who pushes
	totals  *counter.Foresight
	outputs *outputs
	grants  []foreseen
}

// foreseen is a grant that was not admitted.
type foreseen struct {
	book  *ledger.Book
	grant *ledger.Grant
}

// apart is the epoch with memories of its own.
func (e *epoch) apart(g *Guard) *epoch {
	asked := demand.New(demand.Config{Now: g.cfg.Now})
	return &epoch{policy: e.policy, loaded: e.loaded, verdicts: newVerdicts(g.seed, asked, g.cfg.TextAsProtobuf)}
}

// foresees reports whether the write is only explained.
func (v *passage) foresees() bool { return v.foresight != nil }

// admit books a claim, or foresees what the book would say.
func (v *passage) admit(ctx context.Context, book *ledger.Book, c ledger.Claim) (*ledger.Grant, error) {
	if !v.foresees() {
		return book.Admit(ctx, c)
	}
	f := v.foresight
	var before *ledger.Grant
	for _, earlier := range f.grants {
		if c.Totals && earlier.book == book {
			before = earlier.grant
		}
	}
	grant, err := book.Foresee(c, before)
	if err == nil {
		f.grants = append(f.grants, foreseen{book, grant})
	}
	return grant, err
}

// change is what the job would hold more of a book.
func (f *foresight) change(book *ledger.Book) ledger.Change {
	var all ledger.Change
	for _, of := range f.grants {
		if of.book == book {
			c := of.grant.Change()
			all.Series, all.Groups, all.New = all.Series+c.Series, all.Groups+c.Groups, all.New+c.New
		}
	}
	return all
}

// totals are what the families of a push are claimed of.
type totals interface {
	Claim(name string, kind counter.Kind) error
	Holds(name string) bool
}

func (g *Guard) totals(v *passage) totals {
	if v.foresees() {
		return v.foresight.totals
	}
	return g.cfg.Totals
}

func (g *Guard) outputsOf(v *passage) *outputs {
	if v.foresees() {
		return v.foresight.outputs
	}
	return g.outputs
}

// leavingWith are the jobs that are leaving the family, this one among them.
func (g *Guard) leavingWith(v *passage, family string) []string {
	if v.foresees() {
		return g.leaving.besides(family, v.job)
	}
	return g.leaving.with(family, v.job)
}

// foreseer is an upstream that knows what it would answer.
type foreseer interface {
	Foresee(r gateway.Request) (gateway.Answer, error)
}

// do has the upstream take a write, or say what it would answer.
func (g *Guard) do(ctx context.Context, v *passage, r gateway.Request) (gateway.Answer, error) {
	if !v.foresees() {
		return g.cfg.Upstream.Do(context.WithoutCancel(ctx), r)
	}
	v.traceForwarded(r, g.cfg.Caps.Decoded)
	if own, ok := g.cfg.Upstream.(foreseer); ok {
		return own.Foresee(r)
	}
	return gateway.Foresee(r), nil
}
