package admission

import (
	"runtime"
	"testing"
	"time"
)

// TestOthersAreHeard has who gets a turn let those go first who are about to ask for
// theirs, on the one processor that there is: with nobody before it, also once the clock was
// set back, and after a wait.
// The scheduler may have it otherwise now and then.
func TestOthersAreHeard(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const rounds = 100
	atOnce := func(g *Gate, order chan<- string) {
		p := enter(t, g, "a", true, 0)
		go func() { order <- "other" }()
		if err := p.Start(t.Context()); err != nil {
			t.Error(err)
		}
		order <- "turn"
		p.Leave()
	}
	for name, start := range map[string]func(g *Gate, order chan<- string){
		"at once": atOnce,
		"at once, by a clock that was set back": func(g *Gate, order chan<- string) {
			g.others.last.Store(time.Now().Add(time.Hour).UnixNano())
			atOnce(g, order)
		},
		"after a wait": func(g *Gate, order chan<- string) {
			before, p := enter(t, g, "a", true, 0), enter(t, g, "a", true, 0)
			<-begin(g, before)
			left := make(chan struct{})
			go func() {
				defer close(left)
				if err := p.Start(t.Context()); err != nil {
					t.Error(err)
				}
				order <- "turn"
				p.Leave()
			}()
			for waits := false; !waits; time.Sleep(100 * time.Microsecond) {
				g.mu.Lock()
				waits = g.waiting > 0
				g.mu.Unlock()
			}
			g.others.last.Store(0)
			go func() { order <- "other" }()
			before.Leave()
			<-left
		},
	} {
		t.Run(name, func(t *testing.T) {
			heard := 0
			for range rounds {
				g, order := New(Config{InFlight: 1, Working: 1, Wait: time.Hour}), make(chan string, 2)
				start(g, order)
				if <-order == "other" {
					heard++
				}
				<-order
				empty(t, g)
			}
			if heard < rounds/2 {
				t.Errorf("the other was heard first in %d of %d rounds", heard, rounds)
			}
		})
	}
}
