package shipped

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// The unit is what systemd takes, is confined as it reads, and its flags exist.
func TestUnit(t *testing.T) {
	world.Need(t, "/usr/bin/systemd-analyze")
	dir := t.TempDir()
	binary := world.Binary(t)
	unit := strings.ReplaceAll(string(read(t, root+"deploy/systemd/pushguard.service")), "/usr/bin/pushguard", binary)
	file := filepath.Join(dir, "pushguard.service")
	putText(t, file, unit)
	if out, said, err := try("systemd-analyze", "--man=no", "verify", file); err != nil || out+said != "" {
		t.Errorf("verify: %v: %s%s", err, out, said)
	}
	if out, said, err := try("systemd-analyze", "security", "--offline=true", "--threshold=20", file); err != nil {
		t.Errorf("security: %v: %s%s", err, out, said)
	}
	defaults := string(read(t, root+"deploy/packages/default"))
	_, line, _ := strings.Cut(defaults, "\nARGS=")
	var args []any
	for _, f := range strings.Fields("serve " + strings.Trim(strings.TrimSpace(line), `"`)) {
		args = append(args, f)
	}
	policy := filepath.Join(root, "deploy/policy.example.yml")
	here, err := filepath.Abs(policy)
	if err != nil {
		t.Fatal(err)
	}
	starts(t, args, map[string]string{"/etc/pushguard/policy.yml": here, "/var/lib/pushguard": t.TempDir()})
}

// TestUnitTriesOn holds the unit to what a guard without its Redis counts on: whoever started it
// starts it again until the Redis is there. Systemd gives up after five starts within 10 s.
func TestUnitTriesOn(t *testing.T) {
	unit := string(read(t, root+"deploy/systemd/pushguard.service"))
	_, after, _ := strings.Cut(unit, "\nRestartSec=")
	line, _, _ := strings.Cut(after, "\n")
	pause, err := strconv.Atoi(line)
	if err != nil || 4*pause <= 10 {
		t.Errorf("RestartSec=%s: five starts take less than 10 s, after which systemd starts it no more", line)
	}
}

// TestUnitProc has a guard see of /proc what the unit lets it: the time of the boot, by which
// it tells since when it runs, is beside how many connections may wait.
func TestUnitProc(t *testing.T) {
	if os.Geteuid() != 0 {
		world.Missing(t, "root, to mount /proc")
	}
	options := "rw"
	for line := range strings.Lines(string(read(t, root+"deploy/systemd/pushguard.service"))) {
		if subset, ok := strings.CutPrefix(line, "ProcSubset="); ok && subset != "all\n" {
			options = "subset=" + strings.TrimSpace(subset)
		}
	}
	address := gatewaytest.FreeAddress(t)
	const enter = `mount -t proc -o "$0" proc /proc && exec "$@"`
	guard := exec.CommandContext(t.Context(), "unshare", "--mount", "sh", "-c", enter, options, world.Binary(t), "serve", "--web.listen-address="+address)
	if err := guard.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = guard.Process.Kill(); _ = guard.Wait() }()
	var page []byte
	world.Eventually(t, func() error {
		answer, err := http.Get("http://" + address + "/guard/metrics")
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		page, err = io.ReadAll(answer.Body)
		return err
	})
	if !strings.Contains(string(page), "\nprocess_start_time_seconds ") {
		t.Error("the guard does not tell since when it runs")
	}
}
