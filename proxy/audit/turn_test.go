package audit

import (
	"testing"
	"time"
)

// TestTurnAfterAPause has one record come while another has just taken the turn, long
// after that was taken last: it waits for the other, which has it for no time yet.
func TestTurnAfterAPause(t *testing.T) {
	turn := turn{held: make(chan struct{}, 1), made: time.Now()}
	turn.take()
	turn.give()
	turn.made = turn.made.Add(-time.Hour)
	turn.held <- struct{}{} // and has not said since when
	taken := make(chan bool)
	go func() { taken <- turn.take() }()
	select {
	case got := <-taken:
		t.Errorf("taken, or given up, at once: %v", got)
	case <-time.After(50 * time.Millisecond):
		turn.give()
		if !<-taken {
			t.Error("given up")
		}
	}
}
