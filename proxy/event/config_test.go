package event

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWrongTargets(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                     "want loki+http",
		"http://loki:3100":                     "want loki+http",
		"loki://loki:3100":                     "want loki+http",
		"loki+ftp://loki":                      "want loki+http",
		"loki+http://":                         "want loki+http",
		"splunk+http://s":                      `unknown event log "splunk"`,
		"loki+http://user:secret@loki:3100":    "must hold no credentials",
		"loki+http://loki:3100?token=x":        "must hold no credentials",
		"user:secret@loki:3100":                "want loki+http",
		"elasticsearch+http://es:9200":         "DATA-STREAM",
		"clickhouse+http://ch:8123/db":         "want clickhouse+http://HOST:PORT/DATABASE/TABLE",
		"clickhouse+http://ch:8123/db/t/more":  "want clickhouse+http://HOST:PORT/DATABASE/TABLE",
		"clickhouse+http://ch:8123/db/t%60%3B": "want clickhouse+http://HOST:PORT/DATABASE/TABLE",
		"file://relative/path":                 "want file:///PATH",
		"file:relative":                        "want file:///PATH",
		"://\x7f":                              "it is no URL",
	} {
		_, err := Target{URL: url}.open(io.Discard, "", time.Second)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

func TestTargetStandsOnce(t *testing.T) {
	t.Parallel()
	_, err := Open(Config{Targets: []Target{{URL: "stdout:"}, {URL: "stdout:"}, {URL: "nothing"}}})
	if err == nil || !strings.Contains(err.Error(), "stands twice") || !strings.Contains(err.Error(), "nothing") {
		t.Error(err)
	}
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTargets(t *testing.T) {
	t.Parallel()
	path := write(t, "events.yml", `sinks:
- url: loki+https://loki:3100
  tenant: batch
  headers: {X-Team: data}
  http_config:
    basic_auth: {username: guard, password_file: loki.password}
- url: clickhouse+http://ch:8123/logs/events
  user: guard
  password_file: ch.password
`)
	targets, err := LoadTargets(path)
	if err != nil || len(targets) != 2 {
		t.Fatal(targets, err)
	}
	dir := filepath.Dir(path)
	loki, ch := targets[0], targets[1]
	if loki.Tenant != "batch" || loki.Headers["X-Team"] != "data" || loki.HTTP.BasicAuth.PasswordFile != filepath.Join(dir, "loki.password") {
		t.Errorf("%+v", loki)
	}
	if ch.User != "guard" || ch.PasswordFile != filepath.Join(dir, "ch.password") {
		t.Errorf("%+v", ch)
	}
	if !strings.HasPrefix(loki.Name(), "loki-") || loki.Name() == (Target{URL: loki.URL + "/"}).Name() {
		t.Error(loki.Name())
	}
}

func TestLoadTargetsWithFaults(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ text, want string }{
		"an unknown key":         {"sinks:\n- url: 'stdout:'\n  tennant: x\n", "tennant"},
		"an unknown key of HTTP": {"sinks:\n- url: 'stdout:'\n  http_config: {basic: x}\n", "basic"},
		"no URL":                 {"sinks:\n- tenant: x\n", "sinks[0]: url is missing"},
		"no YAML":                {"sinks: [", "did not find"},
	} {
		if _, err := LoadTargets(write(t, "events.yml", tc.text)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := LoadTargets("/nowhere/at/all.yml"); err == nil {
		t.Error("no file is no fault")
	}
}
