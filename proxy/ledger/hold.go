package ledger

import (
	"context"
	"errors"
	"sync"

	"github.com/pushguard/pushguard/proxy/wire"
)

var errShared = errors.New("a book that guards share does not hold groups")

// Hold takes a group as Admit does, for what leaves it as it is to the book, such as
// taking it to another place. Until release is called no claim to it is admitted; Load
// never forgets it meanwhile. It fails with ErrBusy and with the context's error as Admit
// does, and of a book that guards share it always fails.
func (b *Book) Hold(ctx context.Context, key wire.Key) (release func(), err error) {
	if b.shared != nil {
		return nil, errShared
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	g, err := b.enter(ctx, key, false)
	if err != nil {
		return nil, err
	}
	return sync.OnceFunc(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.free(g)
	}), nil
}
