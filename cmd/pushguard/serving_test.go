package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	oklogrun "github.com/oklog/run"

	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/state"
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

// TestKeepingEndsQuietly: that the directory was closed while something was written anew is
// no failure.
func TestKeepingEndsQuietly(t *testing.T) {
	var log logtest.Buffer
	ran := make(chan struct{})
	execute, interrupt := keeping(func(report func(error)) {
		defer close(ran)
		report(fmt.Errorf("not compacted: %w", state.ErrClosed))
		report(errors.New("no space left"))
	}, "It cannot be written", slog.New(slog.NewTextHandler(&log, nil)))
	go func() {
		<-ran
		interrupt(nil)
	}()
	_ = execute()
	if got := log.String(); strings.Contains(got, "closed") || !strings.Contains(got, `msg="It cannot be written" err="no space left"`) {
		t.Error(got)
	}
}
