package world

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Freeze stops the process where it is: its sockets take what comes, and nothing is
// answered. Thaw lets it go on; so does the end of the test.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) })
	p.signal(t, syscall.SIGSTOP)
	Eventually(t, p.stands)
}

// stands is nil once no thread of the process runs, which is some time after the signal
// on a busy machine; where there is no /proc it is taken for done.
func (p *Process) stands() error {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	if err != nil {
		return err
	}
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			return err
		}
		if _, state, _ := strings.Cut(string(text), ") "); !strings.HasPrefix(state, "T") {
			return fmt.Errorf("%s still runs: %s", p.Name, text)
		}
	}
	return nil
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw(t testing.TB) {
	t.Helper()
	p.signal(t, syscall.SIGCONT)
}

func (p *Process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v", p.Name, s, err)
	}
}
