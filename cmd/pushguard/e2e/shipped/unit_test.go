package shipped

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
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
