package main

import (
	"strings"
	"testing"
)

// TestFleetRefuses is for every flag that cannot be together with --state.url, and what
// is wrong with those of its own.
func TestFleetRefuses(t *testing.T) {
	const redis, behind = "--state.url=redis://127.0.0.1:1", "--pushgateway.url=http://127.0.0.1:1"
	policy := "--policy.file=" + write(t, "policy.yml", goodPolicy)
	url := write(t, "url", "redis://127.0.0.1:1\n")
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"no Pushgateway", []string{redis}, "--state.url shares what guards know of one Pushgateway: name it with --pushgateway.url"},
		{"two Redis", []string{redis, behind, "--state.url-file=" + url}, "--state.url and --state.url-file both name a Redis: give one of them"},
		{"two Pushgateways", []string{redis, behind, "--pushgateway.url=http://127.0.0.1:2"}, "--state.url is for guards in front of one Pushgateway: --pushgateway.url names several"},
		{"one that leaves", []string{redis, behind, "--pushgateway.leaving=http://127.0.0.1:2"}, "--state.url is for guards in front of one Pushgateway: --pushgateway.url names several"},
		{"a spool", []string{redis, behind, "--pushgateway.spool", "--state.dir=" + t.TempDir()}, "--pushgateway.spool keeps pushes with one guard: it cannot be one of several with --state.url"},
		{"unchecked", []string{redis, behind, "--pushgateway.unchecked"}, "--pushgateway.unchecked has one guard check every push against all that is stored: it cannot be one of several with --state.url"},
		{"no such file of a URL", []string{behind, "--state.url-file=" + url + "x"}, "--state.url-file: open "},
		{"another scheme", []string{behind, "--state.url=http://user:hush@h"}, "--state.url: want such as redis://host:6379/0"},
		{"several hosts", []string{behind, "--state.url=redis://a:1,b:2"}, "--state.url: the URL names several hosts: guards share one Redis, not a Cluster or Sentinels"},
		{"a Sentinel's scheme", []string{behind, "--state.url=redis+sentinel://a:1/m"}, "--state.url: want such as redis://host:6379/0"},
		{"nobody there", []string{redis, behind}, "--state.url: the Redis that the guards share does not answer: "},
		{"nobody there, degrade", []string{redis, behind, "--state.on-outage=degrade"}, "--state.url: the Redis that the guards share does not answer: "},
		{"another outage", []string{redis, behind, "--state.on-outage=open"}, "--state.on-outage=\"open\": want fail_closed or degrade"},
		{"degrade alone", []string{"--state.on-outage=degrade"}, "--state.on-outage=degrade is for guards that share a Redis: --state.url names none"},
		{"no outage limit", []string{redis, behind, "--state.outage-limit=0"}, "--state.outage-limit=\"0\": "},
		{"a fleet's name", []string{redis, behind, "--state.fleet=a b"}, "--state.fleet=\"a b\": want up to 64 letters, digits, _, . and -"},
		{"TLS alone", []string{"--state.tls-config.file=" + url}, "--state.tls-config.file is for a Redis that guards share: --state.url names none"},
		{"TLS for none", []string{redis, behind, "--state.tls-config.file=" + write(t, "tls.yml", "server_name: x\n")}, "--state.url: how to speak TLS is given, and the URL is not of rediss://"},
		{"a key that TLS has not", []string{redis, behind, "--state.tls-config.file=" + write(t, "tls.yml", "ca_fil: x\n")}, "--state.tls-config.file: "},
		{"an authority that is not there", []string{redis, behind, "--state.tls-config.file=" + write(t, "tls.yml", "ca_file: nowhere.pem\n")}, "nowhere.pem: no such file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, _, stderr := command(t, append([]string{"serve", policy, "--web.listen-address=127.0.0.1:0"}, tc.args...)...)
			if code != 2 || !strings.Contains(stderr, tc.want) {
				t.Errorf("exit %d\n%s\nwant 2 and %q", code, stderr, tc.want)
			}
			if strings.Contains(stderr, "hush") {
				t.Error("the password is shown")
			}
		})
	}
}
