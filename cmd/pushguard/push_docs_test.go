package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// blocks are the code blocks of docs/push.md in one language.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/push.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		out = append(out, m[1])
	}
	if len(out) == 0 {
		t.Fatalf("docs/push.md has no %s", language)
	}
	return out
}

// shell runs a script of the page in a folder with what it talks of, the scripts and
// the clock of cron aside.
func shell(t *testing.T, url, script string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"metrics.prom": "up 1\n", "node_stats": "#!/bin/sh\necho load1 0.5\n", "backup.sh": "#!/bin/sh\nexit 0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "-ec", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PUSHGUARD_URL="+url, "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%s\n%v: %s", script, err, out)
	}
}

// names are the series of a page without their values.
func names(t *testing.T, url string) []string {
	t.Helper()
	var out []string
	for _, line := range series(t, url) {
		out = append(out, line[:strings.LastIndexByte(line, ' ')])
	}
	return out
}

// Every example of docs/push.md is run against a real Pushgateway, and what is said of
// counters against pushguard in front of it.
func TestExamplesOfPush(t *testing.T) {
	gateway := gatewaytest.Start(t).String()
	guard := start(t, gateway, "--policy.file="+write(t, "policy.yml", "version: v1\ndefault: {mode: enforce}\n")).url
	scripts := blocks(t, "sh")
	if len(scripts) != 2 {
		t.Fatalf("%d scripts", len(scripts))
	}
	ofCommand := []string{durationName, exitCodeName, startName, successName}
	backup := func() []string {
		var out []string
		for _, name := range ofCommand {
			out = append(out, name+`{job="backup"}`)
		}
		return out
	}
	shell(t, gateway, scripts[0])
	want := append(backup(), `load1{host="db1",job="backup"}`, `rows{job="backup",table="t"}`, `up{job="backup"}`)
	if diff := cmp.Diff(want, names(t, gateway)); diff != "" {
		t.Error(diff)
	}
	shell(t, guard, scripts[1])
	if page := series(t, guard); !slices.Contains(page, `rows_total{job="import",table="t"} 150`) {
		t.Errorf("not 150 in %q", page)
	}
	shell(t, gateway, scripts[1])
	if page := series(t, gateway); !slices.Contains(page, `rows_total{job="import",table="t"} 30`) {
		t.Errorf("not 30 in %q", page)
	}
}

// The crontab and the CronJob run what they say, but for where the script lies.
func TestScheduledExamplesOfPush(t *testing.T) {
	var cronJob struct {
		Spec struct {
			JobTemplate struct {
				Spec struct {
					Template struct {
						Spec struct {
							Containers []struct {
								Command []string
								Env     []struct{ Name, Value string }
							}
						}
					}
				}
			} `yaml:"jobTemplate"`
		}
	}
	if err := yaml.Unmarshal([]byte(blocks(t, "yaml")[0]), &cronJob); err != nil {
		t.Fatal(err)
	}
	container := cronJob.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	kubernetes := container.Env[0].Name + "=" + container.Env[0].Value + " " + strings.Join(container.Command, " ")
	crontab := strings.SplitN(blocks(t, "cron")[0], "  ", 2)[1]
	for _, line := range []string{crontab, kubernetes} {
		url := gatewaytest.Start(t).String()
		shell(t, url, strings.NewReplacer("http://pushguard:9091", url, "/usr/local/bin/", "./").Replace(line))
		want := []string{durationName + `{job="backup"}`, exitCodeName + `{job="backup"}`, startName + `{job="backup"}`, successName + `{job="backup"}`}
		if diff := cmp.Diff(want, names(t, url)); diff != "" {
			t.Errorf("%s\n%s", line, diff)
		}
	}
}
