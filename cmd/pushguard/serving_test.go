package main

import (
	"errors"
	"os"
	"syscall"
	"testing"

	oklogrun "github.com/oklog/run"
)

// TestStopOnSignal is told to stop before the lifecycle that waits for that has begun: it
// ends at once then, and the process does not.
func TestStopOnSignal(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		execute, interrupt := stopOnSignal(t.Context())
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if err := self.Signal(s); err != nil {
			t.Fatal(err)
		}
		if err := execute(); !errors.Is(err, oklogrun.ErrSignal) {
			t.Errorf("%v: %v", s, err)
		}
		interrupt(nil)
	}
}
