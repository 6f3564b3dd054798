package ledger

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/wire"
)

// upstream stands for a Pushgateway that complains where a real one breaks.
type upstream struct {
	mu     sync.Mutex
	groups map[string]bool
}

func (u *upstream) push(self, twin string, remove bool) (twins bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.groups[self] = !remove
	return u.groups[self] && u.groups[twin]
}

func TestManyAtOnce(t *testing.T) {
	const workers, rounds, pairs = 16, 300, 3
	b := NewBook(Config{Wait: time.Minute})
	up := &upstream{groups: make(map[string]bool)}
	inside := make([]int, 2*pairs) // written without a lock: the race detector sees a double grant
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				n := (w*7 + i*5) % (2 * pairs)
				job := fmt.Sprint(n / 2)
				keys := []wire.Key{key("job", job), key("job", job, "instance", "")}
				self, twin := keys[n%2], keys[1-n%2]
				method := []string{http.MethodPut, http.MethodPost, http.MethodDelete}[i%3]
				g, err := b.Admit(context.Background(), Claim{Group: self, Raw: self, Method: method, Families: []string{"x"}, Folds: true})
				var te *TwinError
				if errors.As(err, &te) {
					continue
				}
				if err != nil {
					t.Errorf("Admit: %v", err)
					return
				}
				if inside[n]++; inside[n] != 1 {
					t.Error("two grants of one group at once")
				}
				if up.push(self.ID(), twin.ID(), method == http.MethodDelete) {
					t.Error("two twins in the upstream")
				}
				runtime.Gosched()
				inside[n]--
				g.Settle(Applied)
			}
		})
	}
	wg.Wait()
	var exist int
	for _, e := range up.groups {
		if e {
			exist++
		}
	}
	if b.Len() != exist {
		t.Errorf("the book knows %d groups, the upstream holds %d", b.Len(), exist)
	}
}
