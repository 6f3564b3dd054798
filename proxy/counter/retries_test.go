package counter

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/clock"
)

func TestARetryOfALostReplyCountsOnce(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	p := Push{Group: groupOf("job=j").Identity(), Method: "PUT", Client: "10.0.0.1", Body: []byte("failures 1")}
	r := value("job=j", Anonymous, 0, 1)
	push := func(name string, p Push, want float64) {
		t.Helper()
		if got := pushedAs(t, b, p, r); got != want {
			t.Errorf("%s adds %v, want %v", name, got, want)
		}
	}
	push("a push", p, 1)
	push("an equal one, the reply to the first known to have arrived", p, 1)
	b.Lost(p)
	for name, other := range map[string]Push{
		"another method": {Group: p.Group, Method: "POST", Client: p.Client, Body: p.Body},
		"another client": {Group: p.Group, Method: p.Method, Client: "10.0.0.2", Body: p.Body},
		"another body":   {Group: p.Group, Method: p.Method, Client: p.Client, Body: []byte("failures 2")},
		"another group":  {Group: groupOf("job=k").Identity(), Method: p.Method, Client: p.Client, Body: p.Body},
	} {
		push(name, other, 1)
	}
	push("the retry", p, 0)
	push("the push after the retry", p, 1)

	b.Lost(p)
	b.Lost(p) // two parallel pushes lost their replies
	push("the first retry of two", p, 0)
	push("the second", p, 0)
	push("the push after them", p, 1)

	b.Lost(p)
	c.advance(lostFor - time.Nanosecond)
	var i Increments
	if err := b.Difference(&i, []Reading{r}, p); err != nil || i.Reason(0) != Retry {
		t.Errorf("a retry just in time: %v, %v", i.Reason(0), err)
	}
	c.advance(time.Nanosecond)
	push("a retry that comes too late", p, 1)

	b.Lost(p)
	if err := b.Forget(context.Background(), p.Group); err != nil {
		t.Fatal(err)
	}
	push("a push after the group was deleted", p, 1)
	if got := b.Stats().Retries; got != 3 {
		t.Errorf("retries = %d, want 3", got)
	}
}

// A retry that was refused is not yet the one that counts nothing.
func TestALostReplyWaitsForItsRetryToCommit(t *testing.T) {
	b := NewBook(Config{Now: newClock().Now})
	p := Push{Group: groupOf("job=j").Identity(), Body: []byte("x")}
	r := value("job=j", Anonymous, 0, 1)
	pushedAs(t, b, p, r)
	b.Lost(p)
	var refused Increments
	if err := b.Difference(&refused, []Reading{r}, p); err != nil {
		t.Fatal(err)
	}
	if got := pushedAs(t, b, p, r); got != 0 {
		t.Errorf("the retry adds %v", got)
	}
}

func TestAnIdempotencyKeyCountsOnce(t *testing.T) {
	c := newClock()
	b := NewBook(Config{Now: c.Now})
	r := value("job=j", Anonymous, 0, 1)
	p := Push{Group: groupOf("job=j").Identity(), Method: "POST", IdempotencyKey: "a"}
	other := p
	other.Group = groupOf("job=k").Identity()
	put := p
	put.Method = "PUT"
	second := p
	second.IdempotencyKey = "b"
	for _, tc := range []struct {
		name  string
		after time.Duration
		push  Push
		want  float64
	}{
		{"the first", 0, p, 1},
		{"its retry", 0, p, 0},
		{"another key", 0, second, 1},
		{"the key in another group", 0, other, 1},
		{"the key of another method", 0, put, 1},
		{"its retry much later", keysFor - time.Second, p, 0},
		{"the key once it is forgotten", time.Second, p, 1},
		{"and its retry", 0, p, 0},
	} {
		c.advance(tc.after)
		if got := pushedAs(t, b, tc.push, r); got != tc.want {
			t.Errorf("%s adds %v, want %v", tc.name, got, tc.want)
		}
	}
}

// A client that says by its keys which pushes are the same is believed, whatever became
// of its replies: what is equal and has another key, or none, is another push.
func TestALostReplyToAPushWithAKey(t *testing.T) {
	b := NewBook(Config{Now: newClock().Now})
	r := value("job=j", Anonymous, 0, 1)
	p := Push{Group: groupOf("job=j").Identity(), Method: "POST", Client: "10.0.0.1", Body: []byte("failures 1"), IdempotencyKey: "monday"}
	next, bare := p, p
	next.IdempotencyKey, bare.IdempotencyKey = "tuesday", ""
	push := func(name string, p Push, want float64) {
		t.Helper()
		if got := pushedAs(t, b, p, r); got != want {
			t.Errorf("%s adds %v, want %v", name, got, want)
		}
	}
	push("a push", p, 1)
	b.Lost(p)
	push("its retry", p, 0)
	push("an equal one with another key", next, 1)
	push("an equal one without a key", bare, 1)
	b.Lost(bare)
	push("an equal one with a third key", Push{Group: p.Group, Method: p.Method, Client: p.Client, Body: p.Body, IdempotencyKey: "wednesday"}, 1)
	push("the retry of the one without a key", bare, 0)
}

func TestWhatIsRememberedOfRetriesIsBounded(t *testing.T) {
	r := newRetries(clock.New(time.Now))
	now := time.Unix(1_800_000_000, 0)
	push := func(n int) *Push { return &Push{Group: Identity{1, uint64(n % 7)}, Body: fmt.Append(nil, n)} }
	for n := range lostMax + 1 {
		r.lose(pushPrint(push(n)), now)
	}
	if got := r.pending(); got != lostMax {
		t.Errorf("lost replies kept = %d, want %d", got, lostMax)
	}
	if r.look(push(0), now).known || !r.look(push(1), now).known || !r.look(push(lostMax), now).known {
		t.Error("it is not the oldest that made room")
	}
	r.lose(pushPrint(push(0)), now.Add(lostFor))
	if got, groups := r.pending(), len(r.groups); got != 1 || groups != 1 {
		t.Errorf("after their time %d lost replies of %d groups are kept, want 1 of 1", got, groups)
	}
	for n := range keysMax + 1 {
		r.remember(Identity{2, uint64(n)}, now.Unix())
	}
	if got := r.keys.Len(); got != keysMax {
		t.Errorf("idempotency keys kept = %d, want %d", got, keysMax)
	}
}
