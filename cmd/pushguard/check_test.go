package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"one.yml":    "version: v1\n",
		"three.yml":  "version: v1\njobs: [{job: a}, {job: b.*}]\n",
		"faulty.yml": "version: v1\ndefault: {mode: strict}\nlimit: 7\n",
		"worse.yml":  "version: v2\n",
		"dated.yml":  "version: v1\njobs:\n- {job: a, budget: {series: 9, until: 2026-01-31}}\n- {job: b, budget: {series: 9, until: 2026-03-01}}\n- {job: c, budget: {series: 9, until: 2027-03-01}}\n",
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{
		"folder/README.md":      "no policy\n",
		"teams/a.yml":           "version: v1\njobs: [{job: a}]\n",
		"teams/b.yml":           "jobs: [{job: b, budget: {series: 9, until: 2026-01-31}}]\n",
		"teams/b_test.yml":      "tests: {}\n",
		"clash/10-platform.yml": "version: v1\ndefault: {mode: enforce}\njobs: [{job: a}]\n",
		"clash/20-data.yml":     "default: {mode: report}\njobs: [{job: a}]\n",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const (
		one    = "one.yml: ok (1 entry, digest aefdbe17a150)\n"
		three  = "three.yml: ok (3 entries, digest b4e4ce801b0f)\n"
		faulty = "faulty.yml:2:17: default: unknown mode \"strict\": want open, report or enforce\n" +
			"faulty.yml:3:1: unknown key \"limit\": want version, auth, budget, fold_jobs, default, jobs or tests\n"
		worse = "worse.yml:1:10: unknown version \"v2\": want v1\n"
	)
	for _, tc := range []struct {
		name           string
		files          []string
		code           int
		stdout, stderr string
	}{
		{"a good file", []string{"one.yml"}, 0, one, ""},
		{"good files", []string{"one.yml", "three.yml"}, 0, one + three, ""},
		{"a faulty file", []string{"faulty.yml"}, 1, "", faulty},
		{"faults do not end it", []string{"worse.yml", "one.yml", "faulty.yml"}, 1, one, worse + faulty},
		{"a file that is not there", []string{"none.yml", "one.yml"}, 2, one, "pushguard: read policy: open none.yml: no such file or directory\n"},
		{
			"a folder",
			[]string{"teams"},
			0,
			"teams: ok (3 entries, digest 2e8b15a9a7cd)\n",
			"teams/b.yml:1:44: warning: job \"b\": budget: until: the budget ended with 2026-01-31: default's holds\n",
		},
		{
			"a folder whose files clash",
			[]string{"clash"},
			1,
			"",
			"clash/20-data.yml:1:10: default: stands in two files: first at clash/10-platform.yml:2:10\n" +
				"clash/20-data.yml:2:14: job \"a\": duplicate job pattern: first at clash/10-platform.yml:3:14\n",
		},
		{"a folder without a policy", []string{"folder"}, 2, "", "pushguard: read policy: folder: no policy file in the folder: want *.yml or *.yaml\n"},
		{"not there before a faulty one", []string{"none.yml", "worse.yml"}, 2, "", "pushguard: read policy: open none.yml: no such file or directory\n" + worse},
		{"not there after a faulty one", []string{"worse.yml", "none.yml"}, 2, "", worse + "pushguard: read policy: open none.yml: no such file or directory\n"},
		{
			"budgets that end",
			[]string{"dated.yml"},
			0,
			"dated.yml: ok (4 entries, digest 0ef9576b826d)\n",
			"dated.yml:3:39: warning: job \"a\": budget: until: the budget ended with 2026-01-31: default's holds\n" +
				"dated.yml:4:39: warning: job \"b\": budget: until: the budget ends with 2026-03-01: default's holds from then on\n",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			c := checkCommand{files: tc.files}
			code := c.run(time.Date(2026, 2, 20, 12, 0, 0, 0, time.UTC), &stdout, &stderr)
			if code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
			if diff := cmp.Diff(tc.stdout, stdout.String()); diff != "" {
				t.Errorf("stdout:\n%s", diff)
			}
			if diff := cmp.Diff(tc.stderr, stderr.String()); diff != "" {
				t.Errorf("stderr:\n%s", diff)
			}
		})
	}
}

func TestCheckOfTheShippedPolicy(t *testing.T) {
	file := filepath.Join("..", "..", "deploy", "policy.example.yml")
	code, stdout, stderr := command(t, "check", file)
	if code != 0 || !strings.HasPrefix(stdout, file+": ok (") || stderr != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

func TestNetworks(t *testing.T) {
	for _, tc := range []struct {
		given []string
		want  string // space separated, empty if the last is refused
	}{
		{[]string{"10.0.0.0/8"}, "10.0.0.0/8"},
		{[]string{"10.1.2.3/8"}, "10.0.0.0/8"},
		{[]string{"192.0.2.7"}, "192.0.2.7/32"},
		{[]string{"2001:db8::7"}, "2001:db8::7/128"},
		{[]string{"fd00::/8, 10.0.0.0/8", "192.0.2.0/24"}, "fd00::/8 10.0.0.0/8 192.0.2.0/24"},
		{[]string{"0.0.0.0/0"}, "0.0.0.0/0"},
		{[]string{""}, ""},
		{[]string{"10.0.0.0/8,"}, ""},
		{[]string{"10.0.0.0/33"}, ""},
		{[]string{"10.0.0"}, ""},
		{[]string{"localhost"}, ""},
		{[]string{"10.0.0.1:80"}, ""},
		{[]string{"fe80::1%eth0"}, ""},
		{[]string{"::ffff:10.0.0.0/104"}, ""},
	} {
		var got []netip.Prefix
		var err error
		for _, text := range tc.given {
			err = networks{"web.trusted-proxies", &got}.Set(text)
		}
		words := make([]string, len(got))
		for i, network := range got {
			words[i] = network.String()
		}
		if (err != nil) != (tc.want == "") || err == nil && strings.Join(words, " ") != tc.want {
			t.Errorf("%q: %q, %v, want %q", tc.given, words, err, tc.want)
		}
	}
}
