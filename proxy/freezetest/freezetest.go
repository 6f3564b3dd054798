// Package freezetest stops processes where they are, for tests of what does not answer.
package freezetest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a busy machine may take.
const patience = 2 * time.Minute

// Freeze stops a process where it is, and returns once none of its threads runs, which is
// some time after the signal: its sockets take what comes, and nothing is answered. Where
// there is no /proc it returns at once. SIGCONT lets the process go on.
func Freeze(t testing.TB, p *os.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatalf("SIGSTOP of process %d: %v", p.Pid, err)
	}
	for begun := time.Now(); ; time.Sleep(time.Millisecond) {
		err := stands(p.Pid)
		if err == nil {
			return
		}
		if time.Since(begun) > patience {
			t.Fatalf("after %s: %v", patience, err)
		}
	}
}

// stands is nil once no thread of a process runs.
func stands(pid int) error {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		return err
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		if state, _, _ := strings.Cut(rest, " "); state != "T" {
			return fmt.Errorf("a thread of process %d is %s, not stopped", pid, state)
		}
	}
	return nil
}
