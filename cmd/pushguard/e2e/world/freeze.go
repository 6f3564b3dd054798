package world

import (
	"syscall"
	"testing"
)

// Freeze stops the process where it is: its sockets take what comes, and nothing is
// answered. Thaw lets it go on; so does the end of the test.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) })
	p.signal(t, syscall.SIGSTOP)
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
