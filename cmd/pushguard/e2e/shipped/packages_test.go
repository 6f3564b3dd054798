package shipped

import (
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/google/go-cmp/cmp"
	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// A release is made twice, for this machine alone, and is the same bytes.
func TestDist(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("ARCHES", runtime.GOARCH)
	t.Setenv("VERSION", "v1.2.3")
	for _, out := range []string{"one", "two"} {
		run(t, "deploy/packages/dist.sh", filepath.Join(dir, out))
	}
	sums := string(read(t, filepath.Join(dir, "one/SHA256SUMS")))
	if diff := cmp.Diff(sums, string(read(t, filepath.Join(dir, "two/SHA256SUMS")))); diff != "" || strings.Count(sums, "\n") != 4 {
		t.Errorf("%s\n%s", diff, sums)
	}
	deb := filepath.Join(dir, "one/pushguard_1.2.3-1_"+runtime.GOARCH+".deb")
	unpacked := filepath.Join(dir, "deb")
	run(t, "dpkg-deb", "-x", deb, unpacked)
	if got := run(t, unpacked+"/usr/bin/pushguard", "--version"); !strings.Contains(got, "pushguard, version 1.2.3 ") {
		t.Errorf("the binary of the deb is %s", got)
	}
	run(t, unpacked+"/usr/bin/pushguard", "check", unpacked+"/etc/pushguard/policy.yml")
	run(t, "dpkg-deb", "-e", deb, filepath.Join(dir, "control"))
	if got := string(read(t, filepath.Join(dir, "control/conffiles"))); got != "/etc/default/pushguard\n/etc/pushguard/policy.yml\n" {
		t.Errorf("conffiles are %q", got)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		run(t, "sh", "-n", filepath.Join(dir, "control", script))
	}
	sbom := string(read(t, filepath.Join(dir, "one/pushguard-1.2.3.linux-"+runtime.GOARCH+".cdx.json")))
	if !strings.Contains(sbom, `"CycloneDX"`) || !strings.Contains(sbom, "pkg:golang/github.com/prometheus/prometheus@v") {
		t.Error("the SBOM names no prometheus/prometheus")
	}
}

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

// Each part of the compose file is given a configuration that it takes.
func TestCompose(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Command  []any
			ReadOnly bool `yaml:"read_only"`
			Volumes  []string
		}
	}
	if err := yaml.Unmarshal(read(t, root+"deploy/compose/compose.yml"), &compose); err != nil {
		t.Fatal(err)
	}
	for name, service := range compose.Services {
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(from, ".") {
				run(t, "ls", filepath.Join("deploy/compose", from)) // what is mounted is there
			}
		}
		if name == "pushguard" && !service.ReadOnly {
			t.Error("the guard's root can be written")
		}
	}
	args := slices.Clone(compose.Services["pushguard"].Command)
	for i, arg := range args { // names of the compose network
		args[i] = strings.NewReplacer("statsd-exporter:", "127.0.0.1:", "loki:3100", "127.0.0.1:1").Replace(arg.(string))
	}
	policy, err := filepath.Abs(root + "deploy/policy.example.yml")
	if err != nil {
		t.Fatal(err)
	}
	starts(t, args, map[string]string{"/etc/pushguard/policy.yml": policy, "/var/lib/pushguard": t.TempDir()})
	run(t, strings.TrimSpace(run(t, "go", "tool", "-modfile=tools.mod", "-n", "statsd_exporter")),
		"--statsd.mapping-config=deploy/compose/statsd-mapping.yml", "--check-config")
	if amtool, err := exec.LookPath("amtool"); err == nil {
		run(t, amtool, "check-config", "deploy/compose/alertmanager.yml")
	} else {
		t.Log("amtool is not here to read alertmanager.yml: apt-get install prometheus-alertmanager")
	}
}
