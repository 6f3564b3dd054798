package shipped

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

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
