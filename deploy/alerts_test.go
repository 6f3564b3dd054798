package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const (
	promtool = "/usr/bin/promtool"
	runbooks = "https://github.com/pushguard/pushguard/blob/main/docs/runbooks.md#"
)

// severities are what an Alertmanager may route by.
var severities = []string{"critical", "warning", "info"}

// alert is a rule of deploy/prometheus/rules.
type alert struct {
	Alert, Expr, Record string
	Labels, Annotations map[string]string
}

// alerts are all rules that alert.
func alerts(t *testing.T) []alert {
	t.Helper()
	var all []alert
	for _, file := range glob(t, "prometheus/rules/*.yml") {
		var rules struct{ Groups []struct{ Rules []alert } }
		readYAML(t, file, &rules)
		for _, g := range rules.Groups {
			all = append(all, g.Rules...)
		}
	}
	return slices.DeleteFunc(all, func(a alert) bool { return a.Alert == "" })
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files
}

func readYAML(t *testing.T, file string, into any) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(content, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// runPromtool runs Debian's promtool, which has to succeed.
func runPromtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := os.Stat(promtool); err != nil {
		const advice = promtool + " is missing: apt-get install prometheus"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// promtool takes the configuration with its rules, and every alert fires, and does not,
// when its tests say so.
func TestPromtoolTakesTheRules(t *testing.T) {
	runPromtool(t, "check", "config", "prometheus/prometheus.yml")
	runPromtool(t, append([]string{"test", "rules"}, glob(t, "prometheus/tests/*.yml")...)...)
}

// An alert says what it is about, how bad it is and where its runbook is.
func TestAlertsAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range alerts(t) {
		switch {
		case seen[a.Alert]:
			t.Errorf("%s stands twice", a.Alert)
		case !slices.Contains(severities, a.Labels["severity"]):
			t.Errorf("%s: severity %q, want one of %v", a.Alert, a.Labels["severity"], severities)
		case a.Annotations["summary"] == "":
			t.Errorf("%s has no summary", a.Alert)
		case a.Annotations["runbook_url"] != runbooks+strings.ToLower(a.Alert):
			t.Errorf("%s: runbook_url %q", a.Alert, a.Annotations["runbook_url"])
		}
		seen[a.Alert] = true
	}
}

var ownMetric = regexp.MustCompile(`\bpushguard_\w+`)

// What alerts ask of the guard is what it says, by docs/metrics.md.
func TestAlertsAskWhatTheGuardSays(t *testing.T) {
	documented, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, a := range alerts(t) {
		for _, name := range ownMetric.FindAllString(a.Expr, -1) {
			asked++
			name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			if !regexp.MustCompile("`" + name + "[`{]").Match(documented) {
				t.Errorf("%s: no metric is called %s", a.Alert, name)
			}
		}
	}
	if asked < 25 {
		t.Errorf("only %d metrics are asked for", asked)
	}
}

// Every alert has a test in which it fires, and one in which it does not.
func TestAlertsAreTested(t *testing.T) {
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, file := range glob(t, "prometheus/tests/*.yml") {
		var written struct {
			Tests []struct {
				Checks []struct {
					Alert  string `yaml:"alertname"`
					Alerts []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		readYAML(t, file, &written)
		for _, test := range written.Tests {
			for _, check := range test.Checks {
				if len(check.Alerts) > 0 {
					fires[check.Alert] = true
				} else {
					quiet[check.Alert] = true
				}
			}
		}
	}
	for _, a := range alerts(t) {
		if !fires[a.Alert] || !quiet[a.Alert] {
			t.Errorf("%s: tested firing: %t, not firing: %t", a.Alert, fires[a.Alert], quiet[a.Alert])
		}
	}
}

// docs/runbooks.md has a section for each alert, which says what it means, how to see
// it and what to do, and none for an alert that is no more.
func TestEveryAlertHasARunbook(t *testing.T) {
	content, err := os.ReadFile("../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, s := range strings.Split(string(content), "\n### ")[1:] {
		title, text, _ := strings.Cut(s, "\n")
		text, _, _ = strings.Cut(text, "\n## ")
		sections[title] = text
	}
	for _, a := range alerts(t) {
		for _, part := range []string{"**Means.**", "**See.**", "**Do.**"} {
			if !strings.Contains(sections[a.Alert], part) {
				t.Errorf("docs/runbooks.md: %s has no %s", a.Alert, part)
			}
		}
		delete(sections, a.Alert)
	}
	for title := range sections {
		t.Errorf("docs/runbooks.md: no alert is called %s", title)
	}
}
