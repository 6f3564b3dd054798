package server

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

func TestModelName(t *testing.T) {
	for text, want := range map[string]string{"processor\t: 0\nmodel name\t: A CPU\n": "A CPU", "": "unknown"} {
		if got := modelName(text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCPUOf(t *testing.T) {
	const stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 25 7 8 20 0 3\n"
	if got, err := cpuOf(stat); got != 1750*time.Millisecond || err != nil {
		t.Errorf("%v %v, want 1.75s", got, err)
	}
	if _, err := cpuOf("42 (a) S 1"); err == nil {
		t.Error("half a line is read")
	}
}

// TestUsage asks Linux about this very process.
func TestUsage(t *testing.T) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{Name: "the test", cmd: &exec.Cmd{Process: self}}
	if err := p.ResetPeak(); err != nil {
		t.Fatal(err)
	}
	const size = 64 << 20
	before, err := p.Memory()
	if err != nil || before <= 0 {
		t.Fatal(before, err)
	}
	block := make([]byte, size)
	for i := range block {
		block[i] = 1
	}
	if peak, err := p.Peak(); err != nil || peak < before+size/2 {
		t.Errorf("a peak of %d after %d more than %d (%v)", peak, size, before, err)
	}
	for used := time.Duration(0); used == 0; { // a tick must come
		if used, err = p.CPU(); err != nil {
			t.Fatal(err)
		}
		block[0]++
	}
	if n, err := (*Process)(nil).Memory(); n != 0 || err != nil {
		t.Errorf("no process uses %d (%v)", n, err)
	}
}
