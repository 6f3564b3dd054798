package shipped

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/units"
	"github.com/google/go-cmp/cmp"
	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

const chart = "deploy/helm/pushguard"

// manifests are what is rendered in each way that the documentation shows.
func manifests(t *testing.T) map[string]string {
	t.Helper()
	helm, kustomize := tool(t, "kubernetes.mod", "helm"), tool(t, "kubernetes.mod", "kustomize")
	out := map[string]string{}
	for name, values := range map[string][]string{
		"alone":   nil,
		"watched": {"serviceMonitor.enabled=true", "serviceMonitor.interval=30s", "serviceMonitor.labels.release=prometheus"},
		"memory":  {"persistence.enabled=false", "networkPolicy.enabled=false", "podDisruptionBudget.enabled=false"},
		"gateway": {"pushgateway.url=http://pushgateway:9091", "pushgateway.existingSecret=upstream", "statsd.address=udp://127.0.0.1:9125"},
		"secured": {
			"pushgateway.url=http://pushgateway:9091", "web.existingSecret=web", "web.tls=true", "probes.exec=true",
			"serviceMonitor.enabled=true", "extraArgs={--limits.in-flight=32,--web.enable-lifecycle}", "policy=version: v1", "imagePullSecrets[0].name=registry",
		},
		"fleet":  {"pushgateway.url=http://pushgateway:9091", "replicas=3", "stateUrl.url=redis://redis:6379/0", "serviceMonitor.enabled=true"},
		"secret": {"pushgateway.url=http://pushgateway:9091", "replicas=2", "stateUrl.existingSecret=redis"},
	} {
		args := []string{"template", "pushguard", chart}
		for _, v := range values {
			args = append(args, "--set", v)
		}
		out["helm "+name] = run(t, helm, args...)
	}
	for _, overlay := range []string{"alone", "gateway"} {
		out["kustomize "+overlay] = run(t, kustomize, "build", "deploy/kubernetes/"+overlay)
	}
	monitored := filepath.Join(t.TempDir(), "monitored")
	here, err := filepath.Abs(root + "deploy/kubernetes")
	if err == nil {
		err = os.CopyFS(monitored, os.DirFS(here))
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(monitored, "alone/kustomization.yaml")
	text := strings.Replace(string(read(t, file)), "# components:", "components:", 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out["kustomize watched"] = run(t, kustomize, "build", filepath.Dir(file))
	return out
}

// Every manifest is what Kubernetes takes, with no field it does not know, and keeps what
// is promised of all of them.
func TestManifests(t *testing.T) {
	kubeconform, where := tool(t, "kubernetes.mod", "kubeconform"), schemas(t)
	for name, text := range manifests(t) {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "manifests.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := run(t, kubeconform, "-strict", "-summary", "-schema-location", where, file); !strings.Contains(got, "Invalid: 0, Errors: 0, Skipped: 0") {
				t.Error(got)
			}
			holds(t, documents(t, text))
			bad := strings.Replace(text, "readOnlyRootFilesystem", "readOnlyRoot", 1)
			if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, _, err := try(kubeconform, "-strict", "-schema-location", where, file); err == nil {
				t.Errorf("a field that is none is not found: %s", out)
			}
		})
	}
}

// holds looks at the facts that a schema cannot know.
func holds(t *testing.T, docs []map[string]any) {
	t.Helper()
	var kinds []string
	for _, doc := range docs {
		kinds = append(kinds, doc["kind"].(string))
		switch doc["kind"] {
		case "StatefulSet", "Deployment":
			pod(t, doc)
			if claims, ok := at(doc, "spec", "volumeClaimTemplates").([]any); ok {
				roomy(t, claims[0])
			}
		case "PersistentVolumeClaim":
			roomy(t, doc)
		case "ServiceMonitor":
			for _, e := range at(doc, "spec", "endpoints").([]any) {
				if at(e, "honorLabels") != true || at(e, "relabelings", "0", "replacement") == nil {
					t.Errorf("an endpoint that takes the labels away: %v", e)
				}
			}
		case "Service", "NetworkPolicy", "PodDisruptionBudget":
			selector := []string{"spec", "selector", "matchLabels", "app.kubernetes.io/name"}
			if doc["kind"] == "Service" {
				selector = []string{"spec", "selector", "app.kubernetes.io/name"}
			} else if doc["kind"] == "NetworkPolicy" {
				selector[1] = "podSelector"
			}
			if at(doc, selector...) != "pushguard" {
				t.Errorf("%v selects %v", doc["kind"], at(doc, "spec"))
			}
		}
	}
	if !slices.Contains(kinds, "ConfigMap") || !slices.Contains(kinds, "Service") {
		t.Errorf("only %v", kinds)
	}
}

// roomy holds a volume to what the guard may write there by default: the audit log, events
// and pushes that wait, and beside them a GiB for the state. Where the former fill it, the
// latter is written no more.
func roomy(t *testing.T, claim any) {
	t.Helper()
	written := units.GiB
	help := run(t, world.Binary(t), "serve", "--help")
	for _, flag := range []string{"audit.retention.size", "events.queue-size", "pushgateway.spool-size"} {
		_, rest, _ := strings.Cut(help, "--"+flag+"=")
		size, err := units.ParseBase2Bytes(strings.Fields(rest + " none")[0])
		if err != nil {
			t.Fatal(flag, err)
		}
		written += size
	}
	size, err := units.ParseBase2Bytes(fmt.Sprint(at(claim, "spec", "resources", "requests", "storage")) + "B")
	if err != nil || size < written {
		t.Errorf("a volume of %v for %v, %v", size, written, err)
	}
}

// pod holds a workload to the promises about its pod, and starts what it would run.
func pod(t *testing.T, doc map[string]any) {
	t.Helper()
	spec := at(doc, "spec", "template", "spec")
	container := at(spec, "containers", "0")
	for want, path := range map[string]string{
		"true":                       "securityContext readOnlyRootFilesystem",
		"false":                      "securityContext allowPrivilegeEscalation",
		"[ALL]":                      "securityContext capabilities drop",
		"map[cpu:100m memory:128Mi]": "resources requests",
	} {
		if got := fmt.Sprint(at(container, strings.Fields(path)...)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if at(spec, "securityContext", "runAsNonRoot") != true || at(spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		t.Errorf("the pod's securityContext is %v", at(spec, "securityContext"))
	}
	ready, live := fmt.Sprint(at(container, "readinessProbe")), fmt.Sprint(at(container, "livenessProbe"))
	if !strings.Contains(ready, "/-/ready") && !strings.Contains(ready, "health") {
		t.Errorf("ready by %s", ready)
	}
	args := at(container, "args").([]any)
	behind := slices.ContainsFunc(args, func(a any) bool { return strings.HasPrefix(a.(string), "--pushgateway.url=") })
	if behind != strings.Contains(live, "--live") || !behind && !strings.Contains(live, "/-/healthy") {
		t.Errorf("live by %s, with a Pushgateway behind: %v", live, behind)
	}
	// A guard that reads a large state on a busy machine is left to it.
	start, lives := at(container, "startupProbe"), at(container, "livenessProbe")
	every, _ := at(start, "periodSeconds").(int)
	tries, _ := at(start, "failureThreshold").(int)
	if every*tries < 60 {
		t.Errorf("a guard that still starts is killed after %d seconds", every*tries)
	}
	for _, ask := range []string{"httpGet", "exec", "timeoutSeconds"} {
		if diff := cmp.Diff(at(lives, ask), at(start, ask)); diff != "" {
			t.Errorf("it starts by another probe than it lives by: %s", diff)
		}
	}
	redis := ""
	if i := slices.IndexFunc(args, func(a any) bool { return strings.HasPrefix(a.(string), "--state.url") }); i >= 0 {
		redis = redistest.Start(t).URL()
		args = append(slices.Clone(args), strings.Replace(args[i].(string), "redis://redis:6379/0", redis, 1))
		args = slices.Delete(args, i, i+1)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"redis/url": redis + "\n", "policy/policy.yml": string(read(t, root+"deploy/policy.example.yml")), "upstream/client.yml": "{}\n", "web/web.yml": "{}\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	starts(t, args, map[string]string{"/etc/pushguard": dir, "/var/lib/pushguard": t.TempDir()})
}

// The policies that are shipped are one.
func TestPoliciesAreTheExample(t *testing.T) {
	want := string(read(t, root+"deploy/policy.example.yml"))
	for _, file := range []string{"deploy/kubernetes/base/policy.yml", chart + "/files/policy.yml"} {
		if diff := cmp.Diff(want, string(read(t, root+file))); diff != "" {
			t.Errorf("%s (cp deploy/policy.example.yml %s):\n%s", file, file, diff)
		}
	}
}

func TestChartRefuses(t *testing.T) {
	helm := tool(t, "kubernetes.mod", "helm")
	for value, why := range map[string]string{
		"replicas=2": "stateUrl", "replicas=0": "replicas",
		"stateUrl.url=redis://r:6379/0": "pushgateway.url", "stateUrl.url=r:6379": "stateUrl",
		"pushgateway.url=http://p:9091,stateUrl.url=redis://r:6379/0,stateUrl.existingSecret=s": "both",
		"pushgateway.url=pushgateway:9091": "pushgateway", "service.port=0": "port", "extraArgs={serve}": "extraArgs",
	} {
		if _, said, err := try(helm, "template", "pushguard", chart, "--set", value); err == nil || !strings.Contains(said, why) {
			t.Errorf("%s is taken, or refused without %q: %s", value, why, said)
		}
	}
	if out, said, err := try(helm, "lint", "--strict", chart); err != nil {
		t.Errorf("lint: %s%s", out, said)
	}
}

// Who installs the chart is told the address that the guard listens at.
func TestChartNotes(t *testing.T) {
	helm := tool(t, "kubernetes.mod", "helm")
	for tls, want := range map[string]string{"false": "push to http://pushguard.default:9091 ", "true": "push to https://pushguard.default:9091 "} {
		out := run(t, helm, "install", "pushguard", chart, "--dry-run=client", "--namespace=default", "--set", "web.existingSecret=web,web.tls="+tls)
		if _, notes, _ := strings.Cut(out, "\nNOTES:\n"); !strings.Contains(notes, want) {
			t.Errorf("with web.tls=%s not %q: %s", tls, want, notes)
		}
	}
}

// A CronJob's image takes the binary from where the Dockerfile lays it, of the image that
// the chart runs.
func TestCronJobTakesTheBinary(t *testing.T) {
	image := fmt.Sprint(at(documents(t, string(read(t, root+chart+"/values.yaml")))[0], "image", "repository"))
	version := fmt.Sprint(at(documents(t, string(read(t, root+chart+"/Chart.yaml")))[0], "appVersion"))
	laid := regexp.MustCompile(`(?m)^COPY --from=build /src/bin/pushguard (\S+)$`).FindStringSubmatch(string(read(t, root+"deploy/Dockerfile")))
	want := "COPY --from=" + image + ":" + version + " " + laid[1] + " /usr/local/bin/pushguard\n"
	if text := string(read(t, root+"deploy/cronjob/backup.yaml")); !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}
