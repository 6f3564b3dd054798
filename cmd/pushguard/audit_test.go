package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestAudit(t *testing.T) {
	const dir = "testdata/audit/"
	log, other := dir+"audit.jsonl", dir+"other.jsonl"
	for _, tc := range []struct {
		golden string
		args   []string
	}{
		{"all", []string{log}},
		{"two-logs", []string{other, log}},
		{"json", []string{log, "--output=json", "--job=wide"}},
		{"by-job", []string{log, "--job=n.*|e.*"}},
		{"by-owner", []string{log, "--owner=platform"}},
		{"by-finding", []string{log, "--finding=ids"}},
		{"by-outcome", []string{log, "--outcome=changed"}},
		{"by-client", []string{log, "--client=2001:db8::1"}},
		{"by-time", []string{log, "--since=2026-03-03T23:30:00Z", "--until=2026-03-04T13:00:01Z"}},
		{"latest", []string{log, "--limit=2"}},
		{"would-be", []string{log, "--would-be"}},
		{"would-be-json", []string{log, "--would-be", "--output=json"}},
		{"would-be-of-none", []string{other, "--would-be"}},
	} {
		t.Run(tc.golden, func(t *testing.T) {
			code, stdout, stderr := command(t, append([]string{"audit"}, tc.args...)...)
			if code != 0 {
				t.Errorf("exit code %d", code)
			}
			golden(t, dir+tc.golden+".golden", stdout+"--- stderr\n"+stderr)
		})
	}
}

func TestAuditFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		code int
		want string
		args []string
	}{
		"no such file":  {1, "no such file", []string{"testdata/audit/none.jsonl"}},
		"no file named": {2, "FILE", nil},
		"no time":       {2, "--since", []string{"x", "--since=yesterday"}},
		"no expression": {2, "--job", []string{"x", "--job=("}},
		"no outcome":    {2, `--outcome="nice": want passed, changed, refused, skipped, failed, removed or forecast, try --help`, []string{"x", "--outcome=nice"}},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := command(t, append([]string{"audit"}, tc.args...)...)
			if code != tc.code || stdout != "" || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
			}
		})
	}
}

// TestAuditFollowsWithoutAnEnd refuses what would be waited for in vain.
func TestAuditFollowsWithoutAnEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // which ends what is followed all the same
	for _, with := range []string{"--until=1h", "--limit=1", "--would-be", "testdata/audit/other.jsonl"} {
		var out, errs bytes.Buffer
		code := run(ctx, []string{"audit", "testdata/audit/audit.jsonl", "--follow", with}, strings.NewReader(""), &out, &errs)
		if code != exitUsage || out.Len() > 0 || errs.String() != "pushguard: --follow is for one FILE, without --until, --would-be and --limit, try --help\n" {
			t.Errorf("%s: exit code %d, %q, %q", with, code, &out, &errs)
		}
	}
}

// TestAuditTellsWhy has the table say what became of a push of which no rule tells, and what
// would of one.
func TestAuditTellsWhy(t *testing.T) {
	for want, line := range map[string]string{
		"  status 400\n":                                   `"outcome":"failed","status":400,"upstream_status":400`,
		"  status 502\n":                                   `"outcome":"failed","status":502`,
		"  run-ids(run_id), status 504\n":                  `"outcome":"failed","status":504,"findings":[{"id":"run-ids","label":"run_id"}]`,
		"  spooled {job=\"a\"}, status 400\n":              `"outcome":"failed","reason":"spooled","group":"{job=\"a\"}","status":0,"upstream_status":400`,
		"  status 404\n":                                   `"outcome":"refused","status":404`,
		"  run-ids(run_id)\n":                              `"outcome":"refused","status":422,"findings":[{"id":"run-ids","label":"run_id"}]`,
		"  1 push: 1 would pass, 0 change, 0 be refused\n": `"outcome":"forecast","forecast":{"pushes":1,"passed":1}`,
		"  -\n": `"outcome":"passed","status":200`,
	} {
		file := write(t, "audit.jsonl", `{"time":"2026-03-04T05:06:07Z","job":"a","method":"POST",`+line+"}\n")
		if code, stdout, stderr := command(t, "audit", file); code != 0 || !strings.HasSuffix(stdout, want) {
			t.Errorf("%s: exit code %d, %s%s", line, code, stdout, stderr)
		}
	}
}
