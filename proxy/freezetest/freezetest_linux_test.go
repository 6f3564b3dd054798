package freezetest

import (
	"os/exec"
	"syscall"
	"testing"
)

// TestFreeze freezes a process that is busy: it stands from then on, until it goes on.
func TestFreeze(t *testing.T) {
	cmd := exec.Command("sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	if err := stands(cmd.Process.Pid); err == nil {
		t.Error("it stands before it is frozen")
	}
	for range 20 {
		Freeze(t, cmd.Process)
		if err := stands(cmd.Process.Pid); err != nil {
			t.Error(err)
		}
		if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
}
