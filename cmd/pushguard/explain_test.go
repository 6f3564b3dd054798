package main

import (
	"bytes"
	"encoding/json"
	stdflag "flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy"
)

var update = stdflag.Bool("update", false, "write the golden files anew")

const explainData = "testdata/explain/"

// explained runs pushguard explain on a push of testdata/explain.
func explained(t *testing.T, push string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	body, err := os.ReadFile(explainData + push)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"explain", "--policy.file", explainData + "policy.yml"}, args...), bytes.NewReader(body), &out, &errs)
	return code, out.String(), errs.String()
}

func TestExplain(t *testing.T) {
	captures := filepath.Join("..", "..", "testdata", "captures")
	for _, tc := range []struct {
		golden string
		code   int
		push   string
		args   []string
	}{
		{"enforced", 0, "push.prom", []string{"--job=load", "--grouping=run_id=77", "--grouping=instance=10.1.2.3"}},
		{"coloured", 0, "push.prom", []string{"--job=load", "--grouping=run_id=77", "--color=always"}},
		{"machines", 0, "push.prom", []string{"--job=load", "--output=json", "--grouping=run_id=77"}},
		{"job-folded", 0, "plain.prom", []string{"--job=load_application_1690000000000_0001", "--method=POST"}},
		{"reported", 0, "push.prom", []string{"--job=etl", "--grouping=dag=a"}},
		{"refused-by-the-gateway", 1, "twins.prom", []string{"--job=etl", "--grouping=run_id=77"}},
		{"relabelled", 0, "push.prom", []string{"--job=zoned"}},
		{"open", 0, "push.prom", []string{"--job=free"}},
		{"refused", 1, "users.prom", []string{"--job=strict"}},
		{"refused-in-silence", 1, "users.prom", []string{"--job=silent"}},
		{"over-a-limit", 1, "plain.prom", []string{"--job=load", "--grouping=note=" + strings.Repeat("long ", 20)}},
		{"over-a-budget", 0, "push.prom", []string{"--job=capped"}},
		{"over-a-budget-refused", 1, "push.prom", []string{"--job=capped_whole"}},
		{"counters-of-python", 0, "python.prom", []string{"--job=load"}},
		{"counters-of-python-to-statsd", 0, "python.prom", []string{"--job=load", "--statsd.address=udp://statsd:9125"}},
		{"counters-of-a-shell", 0, "shell.prom", []string{"--job=load"}},
		{"sums-that-fall", 0, "degrees.prom", []string{"--job=load"}},
		{"sums-that-fall-to-statsd", 0, "degrees.prom", []string{"--job=load", "--statsd.address=udp://statsd:9125"}},
		{"counters-reported", 0, "shell.prom", []string{"--job=etl"}},
		{"counters-kept", 0, "python.prom", []string{"--job=kept"}},
		{"counters-by-policy", 0, "shell.prom", []string{"--job=sorted"}},
		{"counters-by-policy-of-python", 0, "python.prom", []string{"--job=sorted"}},
		{"counter-that-is-none", 1, "poison.prom", []string{"--job=load"}},
		{"label-values-collapse", 0, "tables.prom", []string{"--job=split"}},
		{"budgets-in-time", 0, "tables.prom", []string{"--job=dated"}},
		{"body-that-is-none", 1, "broken.prom", []string{"--job=load"}},
		{"deleted", 0, "plain.prom", []string{"--job=load", "--grouping=run_id=77", "--method=DELETE"}},
		{"captured-protobuf", 0, "plain.prom", []string{"--capture=" + filepath.Join(captures, "go-1.25.0--push-full-protobuf.json")}},
		{"captured-timestamps", 1, "plain.prom", []string{"--capture=" + filepath.Join(captures, "go-1.25.0--const-metric-with-timestamp.json")}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			code, stdout, stderr := explained(t, tc.push, tc.args...)
			if code != tc.code || stderr != "" {
				t.Errorf("exit code %d, want %d, and on stderr %q", code, tc.code, stderr)
			}
			golden(t, explainData+tc.golden+".golden", stdout)
		})
	}
}

// golden compares what was said with a file, or writes it with -update.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-update writes it anew):\n%s", path, diff)
	}
}

func TestExplainIsPlainWherePiped(t *testing.T) {
	_, piped, _ := explained(t, "users.prom", "--job=strict")
	_, never, _ := explained(t, "users.prom", "--job=strict", "--color=never")
	if piped != never || strings.Contains(piped, "\x1b") {
		t.Errorf("colours, or what the push holds of them, in:\n%q", piped)
	}
}

func TestExplainToMachinesIsTheStruct(t *testing.T) {
	_, stdout, _ := explained(t, "push.prom", "--job=load", "--output=json")
	in := json.NewDecoder(strings.NewReader(stdout))
	in.DisallowUnknownFields()
	var e proxy.Trace
	if err := in.Decode(&e); err != nil {
		t.Fatal(err)
	}
	if e.Answer.Status != 200 || e.Forwarded == nil || len(e.Merges) != 1 || len(e.Families) != 3 || !e.Accepted() {
		t.Errorf("%+v", e)
	}
}

func TestExplainWrongFlags(t *testing.T) {
	capture := write(t, "capture.json", `{"request": {"method": "GET", "target": "/metrics"}}`)
	job := "--job=load"
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no job", nil, "--job is required: the job that pushes, or --capture with a recorded request"},
		{"a method that pushes nothing", []string{job, "--method=GET"}, `--method="GET": want PUT, POST or DELETE`},
		{"a pair without a value", []string{job, "--grouping=a"}, `--grouping="a": want name=value`},
		{"a pair without a name", []string{job, "--grouping==a"}, `--grouping="=a": want name=value`},
		{"the job twice", []string{job, "--grouping=job=a"}, `--grouping="job=a": the job is --job`},
		{"a label twice", []string{job, "--grouping=a=1", "--grouping=a=2"}, `--grouping="a=2": the label "a" is there twice`},
		{"a UTF-8 name", []string{job, "--grouping=a.b=c"}, `--grouping="a.b=c": a label name like this wants --push.enable-utf8-names`},
		{"a capture and a job", []string{job, "--capture=" + capture}, "--capture has the whole request in it: leave out --job, --grouping and --content-type"},
		{"a capture that is no push", []string{"--capture=" + capture}, "--capture: " + capture + `: not the capture of a push: request.method "GET": want PUT, POST or DELETE`},
		{"a limit of nothing", []string{job, "--limits.samples=0"}, `--limits.samples="0": want a whole number from 1 to 2147483647`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := explained(t, "plain.prom", tc.args...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, want 2, and on stdout %q", code, stdout)
			}
			if diff := cmp.Diff("pushguard: "+tc.want+", try --help\n", stderr); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExplainOfAFaultyPolicy(t *testing.T) {
	path := write(t, "policy.yml", "version: v1\ndefault: {mode: strict}\n")
	code, _, stderr := command(t, "explain", "--job=a", "--policy.file="+path)
	if code != 2 || !strings.HasPrefix(stderr, path+":2:17: ") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
