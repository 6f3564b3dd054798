package e2e

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

var keepImages = flag.Bool("update-images", false, "keep the screenshots of the console that the README shows, in docs/images")

const consolePolicy = `# The platform team's policy.
version: v1
budget: {series: 20000, groups: 2000}
default:
  mode: enforce
  owner: platform
  budget: {series: 60, groups: 20, new_series_per_hour: 400, new_series_per_day: 1000}
  limits: {label_limit: 12}
  rules:
  - {id: run-ids, labels: [run_id, app_id], action: drop}
jobs:
- {job: nightly_.*, owner: data-eng, budget: {series: 120}}
- {job: forecast_.*, owner: ml, mode: report, budget: {series: 25}}
`

// TestConsole has a browser look at every page, below a route prefix: its filters, what
// appears live, a policy with faults, markup that was pushed, a phone's width, the dark,
// the keyboard, and axe-core's rules.
func TestConsole(t *testing.T) {
	t.Parallel()
	world.Need(t, "/usr/bin/chromium-headless-shell")
	world.Need(t, "node")
	script := world.Testdata("clients", "browser", "console.js")
	world.Need(t, filepath.Join(filepath.Dir(script), "node_modules", "playwright-core"))
	images := t.TempDir()
	file := world.Write(t, "policy.yml", consolePolicy)
	guard := world.Guard(t, world.GuardOptions{Policy: file, Prefix: "/push", Flags: []string{"--web.enable-lifecycle"}})
	out, err := exec.CommandContext(t.Context(), "node", script, guard.URL, images, file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, guard.Logs())
	}
	for _, name := range []string{"overview.png", "explained.png"} {
		image, err := os.ReadFile(filepath.Join(images, name))
		if err != nil || len(image) > 150_000 {
			t.Errorf("%s has %d bytes, %v", name, len(image), err)
		}
		if *keepImages {
			if err := os.WriteFile(filepath.Join(world.Root(), "docs", "images", "console-"+name), image, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
}
