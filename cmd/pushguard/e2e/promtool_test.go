package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// lintOnly is the exit code of promtool check metrics for metrics that parse
// but are not named as they should be.
const lintOnly = 3

// promtoolCheck has promtool read a scrape.
func promtoolCheck(t *testing.T, scrape string) error {
	t.Helper()
	world.Need(t, world.PromtoolPath)
	cmd := exec.Command(world.PromtoolPath, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == lintOnly {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}
