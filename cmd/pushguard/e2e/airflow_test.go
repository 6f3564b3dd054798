package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// runPython runs Debian's Python in the top folder.
func runPython(t *testing.T, args ...string) string {
	t.Helper()
	world.Need(t, world.PythonPath)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, world.PythonPath, args...)
	cmd.Dir, cmd.Env = world.Root(), append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("python3 %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The listener and the Spark helper have tests of their own, in their own language.
func TestPythonOfTheKits(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"deploy/airflow/testdata", "deploy/spark/testdata"} {
		if out := runPython(t, "-m", "unittest", "discover", "-s", folder); !strings.HasSuffix(out, "\nOK\n") {
			t.Errorf("%s:\n%s", folder, out)
		}
	}
}

// Ten mapped tasks of one run that fail at once leave one at a bare Pushgateway, with
// a run_id; through the guard, under the policy built in and under the kit's own, they
// are ten, and no label tells of a run.
func TestAirflowRace(t *testing.T) {
	t.Parallel()
	world.Need(t, world.PushgatewayPath)
	policy := filepath.Join(world.Root(), "deploy/airflow/policy.yml")
	bare := world.Pushgateway(t)
	for _, c := range []struct {
		name  string
		of    *world.Process
		total float64
		runs  bool
	}{
		{"a bare Pushgateway", bare, 1, true},
		{"the guard alone", world.Guard(t, world.GuardOptions{Policy: filepath.Join(world.Root(), "deploy/policy.example.yml")}), 10, false},
		{"the guard before a Pushgateway", world.Guard(t, world.GuardOptions{Upstream: world.Pushgateway(t), Policy: policy}), 10, false},
	} {
		runPython(t, "deploy/airflow/race.py", c.of.URL)
		total, runs := 0.0, false
		for series, value := range c.of.Scrape(t, "") {
			runs = runs || strings.Contains(series, "run_id") || strings.Contains(series, "map_index")
			if strings.HasPrefix(series, "airflow_task_instances_total{") {
				total += value
			}
		}
		if total != c.total || runs != c.runs {
			t.Errorf("%s: %g tasks failed, and runs are told apart: %t; want %g, %t", c.name, total, runs, c.total, c.runs)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// runDAG reads the sweeper DAG with the names of Airflow it needs standing in, and
// prints what the operator was given.
const runDAG = `
import json, sys, types
class DAG:
    def __init__(self, **kw): pass
    def __enter__(self): return self
    def __exit__(self, *err): pass
def operator(**kw): print(json.dumps({"command": kw["bash_command"], "env": kw["env"], "append": kw["append_env"]}))
names = sys.argv[1].split(",")
for name in ("airflow", "airflow.sdk", "airflow.operators", "airflow.operators.bash", "airflow.providers", "airflow.providers.standard", "airflow.providers.standard.operators", "airflow.providers.standard.operators.bash"):
    m = types.ModuleType(name)
    if name.rsplit(".", 1)[-1] == "bash": m.BashOperator = operator
    if name in ("airflow", "airflow.sdk"): m.DAG = DAG
    if not any(name.startswith(n) for n in names): sys.modules[name] = m
exec(open("deploy/airflow/dags/pushguard_sweep.py").read())
`

// What the sweeper DAG tells Airflow to run deletes what is old, in 2.x as in 3.x.
func TestSweeperDAG(t *testing.T) {
	t.Parallel()
	world.Need(t, world.PushgatewayPath)
	for version, missing := range map[string]string{"2": "airflow.sdk,airflow.providers", "3": "airflow.operators"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			var told struct {
				Command string
				Env     map[string]string
				Append  bool
			}
			if err := json.Unmarshal([]byte(runPython(t, "-c", runDAG, missing)), &told); err != nil {
				t.Fatal(err)
			}
			if len(told.Env) != 2 || !told.Append {
				t.Fatalf("%+v", told)
			}
			upstream, binary := world.Pushgateway(t), world.Binary(t)
			mustPush(t, upstream, "/metrics/job/old", "x 1\n")
			pushed := time.Now()
			time.Sleep(apart)
			mustPush(t, upstream, "/metrics/job/new", "x 1\n")
			cmd := exec.CommandContext(t.Context(), "bash", "-c", told.Command)
			cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"), "SWEEP_URL="+upstream.URL, "SWEEP_AFTER="+ageOf(pushed))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			page := upstream.Get(t, "/metrics")
			if page.Status != http.StatusOK || strings.Contains(page.Body, `job="old"`) || !strings.Contains(page.Body, `x{instance="",job="new"} 1`) {
				t.Error(page.Body)
			}
		})
	}
}

// The command of the CronJob, with a script that fails, leaves the script's exit code
// and a push that tells of it.
func TestCronJob(t *testing.T) {
	t.Parallel()
	var manifest struct {
		Spec struct {
			JobTemplate struct {
				Spec struct {
					Template struct {
						Spec struct {
							Containers []struct{ Command []string }
						}
					}
				}
			} `yaml:"jobTemplate"`
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, filepath.Join(world.Root(), "deploy/cronjob/backup.yaml"))), &manifest); err != nil {
		t.Fatal(err)
	}
	guard := world.Guard(t, world.GuardOptions{})
	command := manifest.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Command
	dir := t.TempDir()
	for file, content := range map[string]string{"backup.sh": "#!/bin/sh\nexit 3\n", "pushguard": "#!/bin/sh\nexec " + world.Binary(t) + " \"$@\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for i := range command {
		command[i] = strings.ReplaceAll(command[i], "$(NAMESPACE)", "ops")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(dir, command[0]), command[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "PUSHGUARD_URL="+guard.URL)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	if page := guard.Get(t, "/metrics").Body; !strings.Contains(page, `job_exit_code{instance="",job="backup",namespace="ops"} 3`) {
		t.Errorf("%s\n%s", page, out)
	}
}
