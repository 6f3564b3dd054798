package ledger

import (
	"container/list"
	"strings"
)

// account is what is remembered of a job even when its groups are gone.
type account struct {
	name      string
	hour, day window // new series
	pushes    window
	seen      int64         // when its last group went, by the book's clock; 0: never
	at        *list.Element // of idles.order; nil while the job has groups
}

// spent reports whether there is nothing left to remember.
func (a *account) spent(at int64) bool {
	return !a.known(at) && a.hour.sum(hour, at) == 0 && a.day.sum(day, at) == 0
}

// known reports whether the job had a group within 24 hours.
func (a *account) known(at int64) bool { return a.seen != 0 && at-a.seen < int64(day) }

// maxIdle bounds how many jobs without a group are remembered.
const maxIdle = 100_000

// idles are the accounts of jobs without a group.
type idles struct {
	accounts  map[string]*account
	order     list.List // of *account, by when they became idle
	forgotten int64     // accounts before their time
}

// take returns the account of a job that is about to have a group again, a new
// one if there is none.
func (i *idles) take(name string, at int64) *account {
	a := i.accounts[name]
	if a == nil {
		return &account{name: strings.Clone(name)}
	}
	i.drop(a)
	if a.spent(at) {
		return &account{name: a.name}
	}
	return a
}

// peek is take, and leaves all as it is.
func (i *idles) peek(name string, at int64) *account {
	if a := i.accounts[name]; a != nil && !a.spent(at) {
		return a
	}
	return &account{name: name}
}

func (i *idles) drop(a *account) {
	i.order.Remove(a.at)
	a.at = nil
	delete(i.accounts, a.name)
}

// put keeps the account of a job whose last group has gone.
func (i *idles) put(a *account, at int64) {
	i.expire(at)
	if a.spent(at) {
		return
	}
	a.at = i.order.PushBack(a)
	i.accounts[a.name] = a
	if len(i.accounts) > maxIdle {
		i.drop(i.order.Front().Value.(*account))
		i.forgotten++
	}
}

// expire drops accounts that are spent, oldest first.
func (i *idles) expire(at int64) {
	for e := i.order.Front(); e != nil && e.Value.(*account).spent(at); e = i.order.Front() {
		i.drop(e.Value.(*account))
	}
}
