package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/leaktest"
)

// goodPolicy permits everything.
const goodPolicy = "version: v1\ndefault: {mode: open}\n"

// command runs pushguard to its end.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// write puts a file into a new directory and returns its path.
func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrongFlags(t *testing.T) {
	policy := write(t, "policy.yml", goodPolicy)
	web := write(t, "web.yml", "tls_server_config: {cert_fil: x}\n")
	client := write(t, "client.yml", "basic_aut: {username: a}\n")
	missing := filepath.Join(t.TempDir(), "missing", "file")
	good := []string{"serve", "--pushgateway.url=http://127.0.0.1:1", "--policy.file=" + policy}

	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"unknown flag", []string{"serve", "--bogus"}, "unknown long flag '--bogus'"},
		{"unknown command", []string{"frobnicate"}, `expected command but got "frobnicate"`},
		{"an argument too many", append(good, "now"), "unexpected now"},
		{"a flag twice", append(good, "--audit.file=a", "--audit.file=b"), "flag 'audit.file' cannot be repeated"},
		{"a password that a URL may not have", []string{"push", "--job=a", "--url=http://etl:100%/@guard:9091"}, `--url="http://…@guard:9091": want an absolute URL, such as http://127.0.0.1:9092`},
		{"a password without a scheme", []string{"push", "--job=a", "--url=etl:secret@guard:9091"}, `--url="…@guard:9091": want an absolute URL, such as http://127.0.0.1:9092`},
		{"a Pushgateway twice", append(good, "--pushgateway.url=HTTP://127.0.0.1:1/"), `--pushgateway.url="HTTP://127.0.0.1:1/": it is there twice`},
		{"a Pushgateway twice, with its port", append(good, "--pushgateway.url=http://pg", "--pushgateway.url=http://PG:80"), `--pushgateway.url="http://PG:80": it is there twice`},
		{"a Pushgateway that stays and leaves", append(good, "--pushgateway.leaving=http://127.0.0.1:1/"), `--pushgateway.leaving="http://127.0.0.1:1/": --pushgateway.url names it, too`},
		{"standard input, of check", []string{"check", "-"}, "- is not standard input here: name a file, such as /dev/stdin; for learn it is --from=-"},
		{"standard input, of learn, after a blank", []string{"learn", "--from", "-"}, "- is not standard input here: name a file, such as /dev/stdin; for learn it is --from=-"},
		{"a switch with a value", append(good, "--web.enable-lifecycle=true"), "--web.enable-lifecycle=true: it takes no value: --web.enable-lifecycle, or --no-web.enable-lifecycle"},
		{"a switch with a value, before an argument", []string{"sweep", "--dry-run=false", "http://h"}, "--dry-run=false: it takes no value: --dry-run, or --no-dry-run"},
		{"a switch set off with a value", []string{"push", "--job=x", "--no-increment=true", "--gauge=a=1"}, "--no-increment=true: it takes no value: --increment, or --no-increment"},
		{"a policy of no name", []string{"serve", "--policy.file="}, `--policy.file="": want a value, or the flag left out`},
		{"a state directory of no name", append(good, "--state.dir", ""), `--state.dir="": want a value, or the flag left out`},
		{"an address of no name", append(good, "--admin.listen-address="), `--admin.listen-address="": want a value, or the flag left out`},
		{"log level", append(good, "--log.level=loud"), "unrecognized log level loud"},
		{"log format", append(good, "--log.format=xml"), "unrecognized log format xml"},
		{
			"how to speak to an upstream that there is not",
			[]string{"serve", "--policy.file=" + policy, "--pushgateway.config.file=" + policy},
			"--pushgateway.config.file is for a Pushgateway behind: --pushgateway.url names none",
		},
		{
			"upstream without a scheme",
			[]string{"serve", "--pushgateway.url=127.0.0.1:9092"},
			`--pushgateway.url="127.0.0.1:9092": want an absolute URL, such as http://127.0.0.1:9092`,
		},
		{
			"upstream that is only a path",
			[]string{"serve", "--pushgateway.url=/push"},
			`--pushgateway.url="/push": want an absolute URL, such as http://127.0.0.1:9092`,
		},
		{
			"upstream of another scheme",
			[]string{"serve", good[2], "--pushgateway.url=ftp://h"},
			`--pushgateway.url: upstream url "ftp://h": scheme must be http or https`,
		},
		{
			"upstream with a query",
			[]string{"serve", good[2], "--pushgateway.url=http://h?a=b"},
			`--pushgateway.url: upstream url "http://h?a=b": must hold no credentials, query or fragment`,
		},
		{
			"a policy that is not there",
			[]string{"serve", good[1], "--policy.file=" + missing},
			"--policy.file: read policy: open " + missing + ": no such file or directory",
		},
		{
			"an audit file that cannot be", append(good, "--audit.file="+missing),
			"--audit.file: open " + missing + ": no such file or directory",
		},
		{
			"a file of recorded pushes that cannot be", append(good, "--record.file="+missing),
			"--record.file: open " + missing + ": no such file or directory",
		},
		{
			"one file for two logs", append(good, "--audit.file=log.jsonl", "--record.file=./log.jsonl"),
			`--record.file="./log.jsonl": --audit.file names it, too`,
		},
		{
			"a web config that is not there", append(good, "--web.config.file="+missing),
			"--web.config.file: open " + missing + ": no such file or directory",
		},
		{
			"a web config with a fault", append(good, "--web.config.file="+web),
			"--web.config.file: yaml: unmarshal errors: line 1: field cert_fil not found in type web.TLSConfig",
		},
		{
			"no address", append(good, "--web.listen-address="),
			`--web.listen-address: "": want host:port or :port`,
		},
		{
			"an address without a port", append(good, "--web.listen-address=localhost"),
			`--web.listen-address: "localhost": want host:port or :port`,
		},
		{
			"an admin address without a port", append(good, "--admin.listen-address=localhost"),
			`--admin.listen-address: "localhost": want host:port or :port`,
		},
		{
			"a client config that is not there", append(good, "--pushgateway.config.file="+missing),
			"--pushgateway.config.file: open " + missing + ": no such file or directory",
		},
		{
			"a client config with a fault", append(good, "--pushgateway.config.file="+client),
			"--pushgateway.config.file: yaml: unmarshal errors: line 1: field basic_aut not found in type config.plain",
		},
		{
			"a proxy that is no network", append(good, "--web.trusted-proxies=10.0.0.0/8,gate"),
			`--web.trusted-proxies="10.0.0.0/8,gate": "gate" is no network: want such as 10.0.0.0/8, 192.0.2.7 or fd00::/8`,
		},
		{
			"no proxy", append(good, "--web.trusted-proxies="),
			`--web.trusted-proxies="": "" is no network: want such as 10.0.0.0/8, 192.0.2.7 or fd00::/8`,
		},
		{
			"check without a file",
			[]string{"check"},
			"required argument 'FILE...' not provided",
		},
		{
			"a route prefix with a query", append(good, "--web.route-prefix=/a?b"),
			`--web.route-prefix="/a?b": want a plain path, such as /push or /team/push`,
		},
		{
			"a route prefix with a dot segment", append(good, "--web.route-prefix=/a/../b"),
			`--web.route-prefix="/a/../b": want a plain path, such as /push or /team/push`,
		},
		{
			"a timeout that is no time", append(good, "--pushgateway.timeout=30"),
			`--pushgateway.timeout="30": want a time above 0, such as 30s or 1m30s`,
		},
		{
			"a timeout of nothing", append(good, "--web.read-timeout=0s"),
			`--web.read-timeout="0s": want a time above 0, such as 30s or 1m30s`,
		},
		{
			"a limit of nothing", append(good, "--limits.samples=0"),
			`--limits.samples="0": want a whole number from 1 to 2147483647`,
		},
		{
			"a size without a unit", append(good, "--limits.body-bytes=100"),
			`--limits.body-bytes="100": want a size from 1B to 2047MiB, such as 500KiB or 16MiB`,
		},
		{
			"a size that overflows", append(good, "--limits.decoded-bytes=9EiB"),
			`--limits.decoded-bytes="9EiB": want a size from 1B to 2047MiB, such as 500KiB or 16MiB`,
		},
		{
			"a size of no bytes where 0 is no limit", append(good, "--audit.retention.size=0B"),
			`--audit.retention.size="0B": want a size from 1B to 2047MiB, such as 500KiB or 16MiB, or 0`,
		},
		{
			"a queue without room for a file", append(good, "--events.queue-size=1023KiB"),
			`--events.queue-size="1023KiB": want a size from 1MiB to 2047MiB, such as 256MiB`,
		},
		{
			"a value of any length", append(good, "--limits.labels="+strings.Repeat("x", 101)),
			`--limits.labels="` + strings.Repeat("x", 100) + `...": want a whole number from 1 to 2147483647`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			code, stdout, stderr := command(t, tc.args...)
			if code != 2 || stdout != "" {
				t.Errorf("exit code %d, want 2, and on stdout %q", code, stdout)
			}
			if diff := cmp.Diff("pushguard: "+tc.want+", try --help\n", stderr); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEveryFaultOfThePolicyHasItsLine(t *testing.T) {
	path := write(t, "policy.yml", "version: v1\ndefault: {mode: strict}\nlimit: 7\n")
	code, _, stderr := command(t, "serve", "--pushgateway.url=http://127.0.0.1:1", "--policy.file="+path)
	if code != 2 {
		t.Errorf("exit code %d, want 2", code)
	}
	lines := strings.Split(strings.TrimSuffix(stderr, "\n"), "\n")
	for i, want := range []string{":2:17: ", ":3:1: "} {
		if len(lines) != 2 || !strings.HasPrefix(lines[i], path+want) {
			t.Fatalf("want a line for 2:17 and one for 3:1, got:\n%s", stderr)
		}
	}
}

func TestAddressInUse(t *testing.T) {
	defer leaktest.None(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	code, _, stderr := command(t, "serve", "--log.level=error", "--web.listen-address="+address,
		"--pushgateway.url=http://127.0.0.1:1", "--policy.file="+write(t, "policy.yml", goodPolicy))
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if diff := cmp.Diff("pushguard: listen tcp "+address+": bind: address already in use\n", stderr); diff != "" {
		t.Error(diff)
	}
}

func TestHelp(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	want, err := os.ReadFile("testdata/help.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-h"}, {"--help"}, {"help"}} {
		code, stdout, stderr := command(t, args...)
		if code != 0 || stderr != "" {
			t.Errorf("%v: exit code %d and on stderr %q", args, code, stderr)
		}
		if diff := cmp.Diff(string(want), stdout); diff != "" {
			t.Errorf("%v (COLUMNS=80 go run . -h >testdata/help.txt writes it anew):\n%s", args, diff)
		}
	}
}

// TestHelpInBrief has who says nothing told of every command, and of no flag.
func TestHelpInBrief(t *testing.T) {
	t.Setenv("COLUMNS", "80")
	code, stdout, stderr := command(t)
	if code != 0 || stderr != "" || strings.Count(stdout, "\n") > 70 || strings.Contains(stdout, "  --") {
		t.Errorf("exit code %d, on stderr %q, and\n%s", code, stderr, stdout)
	}
	_, all, _ := command(t, "-h")
	for _, name := range regexp.MustCompile(`(?m)^  ([a-z]+)( .*)?$`).FindAllStringSubmatch(all[strings.Index(all, "\nCommands:"):], -1) {
		if !strings.Contains(stdout, "\n  "+name[1]+"\n") {
			t.Errorf("no %s in\n%s", name[1], stdout)
		}
	}
}

func TestHelpOfServe(t *testing.T) {
	for _, args := range [][]string{{"serve", "-h"}, {"help", "serve"}} {
		code, stdout, _ := command(t, args...)
		if code != 0 || !strings.HasPrefix(stdout, "usage: pushguard serve [<flags>]\n") || !strings.Contains(stdout, "--pushgateway.url=URL") {
			t.Errorf("%v: exit code %d and\n%s", args, code, stdout)
		}
	}
}

// TestHelpOfNoCommand has help answer what the command itself would.
func TestHelpOfNoCommand(t *testing.T) {
	want := "pushguard: expected command but got \"frobnicate\", try --help\n"
	for _, args := range [][]string{{"help", "frobnicate"}, {"frobnicate"}} {
		if code, stdout, stderr := command(t, args...); code != exitUsage || stdout != "" || stderr != want {
			t.Errorf("%v: exit code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}

// full is a disk that takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

// TestFullDisk: what cannot be written is said, by the exit code too.
func TestFullDisk(t *testing.T) {
	policy := write(t, "policy.yml", goodPolicy+"tests: [{name: all pass, job: a, push: rows 1, want: {outcome: passed}}]\n")
	for _, args := range [][]string{{"-h"}, {"help"}, {"serve", "-h"}, {}, {"--version"}, {"check", policy}, {"test", policy}, {"man"}, {"completion", "bash"}} {
		var stderr bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(""), full{}, &stderr)
		if code != exitFailure || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr.String())
		}
	}
}

func TestVersion(t *testing.T) {
	code, stdout, stderr := command(t, "--version")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "pushguard, version ") || strings.Contains(stdout, "usage:") {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}
