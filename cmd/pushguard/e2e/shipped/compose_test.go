package shipped

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// composed is what the tests read of deploy/compose/compose.yml.
type composed struct {
	Services map[string]struct {
		Image     string
		Command   []any
		ReadOnly  bool `yaml:"read_only"`
		Ports     []string
		Volumes   []string
		DependsOn []string `yaml:"depends_on"`
	}
	Volumes map[string]any
}

func compose(t *testing.T) composed {
	t.Helper()
	var c composed
	if err := yaml.Unmarshal(read(t, root+"deploy/compose/compose.yml"), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// listening are the ports of what an image runs, by its documentation; of Loki and of the
// guard by what is shipped.
func listening(t *testing.T) map[string][]int {
	t.Helper()
	var loki struct {
		Server struct {
			Port int `yaml:"http_listen_port"`
		}
	}
	if err := yaml.Unmarshal(read(t, root+"deploy/compose/loki.yml"), &loki); err != nil {
		t.Fatal(err)
	}
	exposed := regexp.MustCompile(`(?m)^EXPOSE (\d+)$`).FindSubmatch(read(t, root+"deploy/Dockerfile"))
	guard, err := strconv.Atoi(string(exposed[1]))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]int{
		"pushguard": {guard}, "loki": {loki.Server.Port}, "pushgateway": {9091}, "statsd-exporter": {9102, 9125},
		"prometheus": {9090}, "alertmanager": {9093}, "grafana": {3000},
	}
}

var hostPort = regexp.MustCompile(`\b([a-z][a-z-]*[a-z]):(\d{4,5})\b`)

// What the services call one another is a service, at a port that it listens on.
func TestComposeNamesServices(t *testing.T) {
	c, ports := compose(t), listening(t)
	texts := map[string]string{}
	for name, service := range c.Services {
		if ports[name] == nil {
			t.Errorf("nobody says at which port %s listens", name)
		}
		for _, other := range service.DependsOn {
			if _, ok := c.Services[other]; !ok {
				t.Errorf("%s depends on %s, which is no service", name, other)
			}
		}
		for _, published := range service.Ports {
			fields := strings.Split(published, ":")
			if inside, err := strconv.Atoi(fields[len(fields)-1]); err != nil || !slices.Contains(ports[name], inside) || fields[0] != "127.0.0.1" {
				t.Errorf("%s publishes %s, and listens at %v", name, published, ports[name])
			}
		}
		for _, arg := range service.Command {
			texts["the command of "+name] += arg.(string) + "\n"
		}
	}
	for _, file := range []string{"deploy/prometheus/prometheus.yml", "deploy/grafana/provisioning/datasources/pushguard.yml"} {
		texts[file] = string(read(t, root+file))
	}
	named := 0
	for where, text := range texts {
		for _, m := range hostPort.FindAllStringSubmatch(text, -1) {
			if m[1] == "localhost" { // the browser's, where ports are published
				continue
			}
			named++
			port, err := strconv.Atoi(m[2])
			if err != nil || !slices.Contains(ports[m[1]], port) {
				t.Errorf("%s names %s, where nobody listens: %v", where, m[0], ports[m[1]])
			}
		}
	}
	if named < 9 {
		t.Errorf("only %d addresses were found", named)
	}
}

// What is mounted is there, what a service is told to read is mounted, and what Grafana
// is provisioned with lies where it looks.
func TestComposeMountsWhatIsRead(t *testing.T) {
	c := compose(t)
	inside := func(service, path string) bool {
		for _, v := range c.Services[service].Volumes {
			if at := strings.Split(v, ":")[1]; path == at || strings.HasPrefix(path, at+"/") {
				return true
			}
		}
		return false
	}
	for name, service := range c.Services {
		for _, volume := range service.Volumes {
			from, _, _ := strings.Cut(volume, ":")
			if strings.HasPrefix(from, ".") {
				run(t, "ls", filepath.Join("deploy/compose", from))
			} else if _, ok := c.Volumes[from]; !ok {
				t.Errorf("%s mounts %s, which is no volume", name, from)
			}
		}
		for _, arg := range service.Command {
			if _, path, ok := strings.Cut(arg.(string), "=/"); ok && !inside(name, "/"+path) {
				t.Errorf("%s: nothing is mounted for %s", name, arg)
			}
		}
	}
	for _, arg := range c.Services["pushguard"].Command {
		// A file that is mounted by itself stays what it was where an editor replaces it, and
		// the change that is watched for is never seen.
		if file, ok := strings.CutPrefix(arg.(string), "--policy.file="); ok && slices.ContainsFunc(c.Services["pushguard"].Volumes, func(v string) bool {
			return strings.Split(v, ":")[1] == file
		}) {
			t.Errorf("%s is mounted by itself", file)
		}
	}
	var dashboards struct {
		Providers []struct{ Options struct{ Path string } }
	}
	if err := yaml.Unmarshal(read(t, root+"deploy/grafana/provisioning/dashboards/pushguard.yml"), &dashboards); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboards.Providers {
		if !inside("grafana", p.Options.Path) {
			t.Errorf("nothing is mounted at %s, where Grafana looks for dashboards", p.Options.Path)
		}
	}
	if !inside("grafana", "/etc/grafana/provisioning/datasources") || len(dashboards.Providers) != 1 {
		t.Error("Grafana is not provisioned")
	}
}

// Each part of the compose file is given a configuration that it takes.
func TestCompose(t *testing.T) {
	guard := compose(t).Services["pushguard"]
	if !guard.ReadOnly {
		t.Error("the guard's root can be written")
	}
	args := slices.Clone(guard.Command)
	for i, arg := range args { // names of the compose network
		args[i] = strings.NewReplacer("statsd-exporter:", "127.0.0.1:", "loki:3100", "127.0.0.1:1").Replace(arg.(string))
	}
	deploy, err := filepath.Abs(root + "deploy")
	if err != nil {
		t.Fatal(err)
	}
	starts(t, args, map[string]string{"/etc/pushguard": deploy, "/var/lib/pushguard": t.TempDir()})
	run(t, strings.TrimSpace(run(t, "go", "tool", "-modfile=tools.mod", "-n", "statsd_exporter")),
		"--statsd.mapping-config=deploy/compose/statsd-mapping.yml", "--check-config")
	if amtool, err := exec.LookPath("amtool"); err == nil {
		run(t, amtool, "check-config", "deploy/compose/alertmanager.yml")
	} else {
		t.Log("amtool is not here to read alertmanager.yml: apt-get install prometheus-alertmanager")
	}
}
