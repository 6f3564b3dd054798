package e2e

import (
	"os/exec"
	"regexp"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
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
