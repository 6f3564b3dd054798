package consistency

import (
	"errors"
	"net/http"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// Foresee answers a write as Do would, as far as the checker knows what the upstream
// holds, and changes nothing.
func (c *Checker) Foresee(r gateway.Request) (gateway.Answer, error) {
	if r.Method == http.MethodDelete {
		return gateway.Answer{Status: http.StatusAccepted}, nil
	}
	families, err := read(r, c.seed.Load())
	if err == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		err = c.book.foresee(r.Key, families, r.Method == http.MethodPut, c.seed.Load())
	}
	switch {
	case errors.Is(err, errUnsure):
		return gateway.Answer{}, err
	case err != nil:
		return refusal(err), nil
	default:
		return gateway.Answer{Status: http.StatusOK}, nil
	}
}

// foresee says what reserve would, and reserves nothing.
func (b *book) foresee(key wire.Key, pushed []family, all bool, seed uint64) error {
	g := b.find(key)
	if g == nil {
		g = newGroup(key)
	}
	next, err := b.weigh(g, pushed, all, seed)
	if err != nil {
		return err
	}
	give, take := differ(g.taken, namesOf(next))
	return clash(b.index.Check(take, give), pushed)
}
