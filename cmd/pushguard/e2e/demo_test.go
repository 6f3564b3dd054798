package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/addresstest"
	"github.com/pushguard/pushguard/proxy/logtest"
)

// TestDemo runs what make demo runs: ten failures read as 1 at a bare Pushgateway,
// and as 10 through pushguard.
func TestDemo(t *testing.T) {
	t.Parallel()
	world.Need(t, world.PushgatewayPath)
	cmd := exec.CommandContext(t.Context(), "go", "run", "./cmd/pushguard/e2e/demo", world.Binary(t))
	cmd.Dir = world.Root()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range []string{`ten tasks fail .* +10 +1 +10\n`, `mapped tasks share +10 +1 +10\n`, `as it grows: .* +25 +25 +25\n`, `3 rows each +6 +3 +6\n`} {
		if !regexp.MustCompile(row).Match(out) {
			t.Errorf("nothing is like %q in:\n%s", row, out)
		}
	}
}

// TestRun runs what make run runs where there is little but a shell, and no curl: it says
// what to try, as soon as the guard is ready.
func TestRun(t *testing.T) {
	t.Parallel()
	path := t.TempDir()
	for _, name := range []string{"bash", "cat", "dirname", "grep", "mktemp", "rm", "sleep", "tee"} {
		file, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(file, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	address, err := addresstest.Free()
	if err != nil {
		t.Fatal(err)
	}
	var out logtest.Buffer
	cmd := exec.CommandContext(t.Context(), "bash", world.Testdata("run.sh"))
	cmd.Env = []string{"PATH=" + path, "BIN=" + world.Binary(t), "LISTEN=" + address}
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // so that it ends its guard, too
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	world.Eventually(t, func() error {
		if !strings.Contains(out.String(), "Ctrl-C stops it.") {
			return errors.New(out.String())
		}
		return nil
	})
	if err := errors.Join(cmd.Process.Signal(os.Interrupt), cmd.Wait()); err != nil {
		t.Error(err)
	}
	if said := out.String(); strings.Contains(said, "not found") || strings.Contains(said, "does not answer") {
		t.Error(said)
	}
}
