package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace sends a hundred requests at ten a second: they take ten seconds, but for what
// is left to chance, and none begins with the one before.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pace
		begun := time.Now()
		last := begun.Add(-time.Second)
		for range 100 {
			if !p.Wait(t.Context(), 10) {
				t.Fatal("it was given up")
			}
			if between := time.Since(last); between < 50*time.Millisecond {
				t.Errorf("%v after the one before", between)
			}
			last = time.Now()
		}
		if took := last.Sub(begun); took < 99*50*time.Millisecond || took > 99*150*time.Millisecond {
			t.Errorf("they took %v", took)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if p.Wait(ended, 10) {
			t.Error("it goes on after its context has ended")
		}
	})
}
