package world

import (
	"syscall"
	"testing"

	"github.com/pushguard/pushguard/proxy/freezetest"
)

// Freeze stops the process where it is: its sockets take what comes, and nothing is
// answered. Thaw lets it go on; so does the end of the test.
func (p *Process) Freeze(t testing.TB) {
	t.Helper()
	t.Cleanup(func() { _ = p.cmd.Process.Signal(syscall.SIGCONT) })
	freezetest.Freeze(t, p.cmd.Process)
}

// Thaw lets a frozen process go on.
func (p *Process) Thaw(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatalf("%s: SIGCONT: %v", p.Name, err)
	}
}
