package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// step is a command of a page, and what the page shows of it.
type step struct{ command, want string }

// pageOf reads a page.
func pageOf(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// session are the console blocks of a page: lines that begin with $, those that go on
// with >, and what was shown.
func session(t *testing.T, page string) []step {
	t.Helper()
	return steps(t, page, pageOf(t, page))
}

// steps are those of the text of a page.
func steps(t *testing.T, page, text string) []step {
	t.Helper()
	var out []step
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			command, isCommand := strings.CutPrefix(line, "$ ")
			more, isMore := strings.CutPrefix(line, "> ")
			switch {
			case isCommand:
				out = append(out, step{command: command})
			case len(out) == 0:
				t.Fatalf("%s: %q comes before any command", page, line)
			case isMore && out[len(out)-1].want == "":
				out[len(out)-1].command += more
			default:
				out[len(out)-1].want += line
			}
		}
	}
	return out
}

// shows reports whether a command showed what the page has; … is anything in a line.
func shows(want, got string) bool {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(want), "…", "[^\n]*")
	return regexp.MustCompile("^" + pattern + "$").MatchString(got)
}

// walk runs commands one after the other in one folder.
type walk struct {
	dir  string
	to   *strings.Replacer // from the page's addresses to those of the test
	from *strings.Replacer
	// guard is where a guard that is left running answers, if it is to be waited for.
	guard string
}

func (r walk) shell(ctx context.Context, command string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", r.to.Replace(command))
	cmd.Dir = r.dir
	return cmd
}

func (r walk) run(t *testing.T, command string) string {
	t.Helper()
	if background, ok := strings.CutSuffix(command, " &\n"); ok {
		r.start(t, background)
		if r.guard == "" || !strings.HasPrefix(background, "pushguard serve") {
			return ""
		}
		// With -f, as what an answer of 503 says could not be taken back from there: exit status 23.
		command = "curl -sf -o /dev/null --retry 60 --retry-connrefused --retry-delay 1 http://" + r.guard + "/-/ready\n"
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := r.shell(ctx, command)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("$ %s%v: %s", command, err, &out)
	}
	return r.from.Replace(out.String())
}

// start leaves a command running until the test ends.
func (r walk) start(t *testing.T, command string) {
	t.Helper()
	cmd := r.shell(context.WithoutCancel(t.Context()), "exec "+command)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// Every command of docs/adopting.md is run, against a real Pushgateway and with the
// program itself, and shows what the page says.
func TestAdopting(t *testing.T) { follow(t, "../../docs/adopting.md", 20) }

// So is every command of docs/migration.md.
func TestMigration(t *testing.T) { follow(t, "../../docs/migration.md", 15) }

// So is every command of the README, where a guard without a flag has the port of a
// Pushgateway, and the policy in it is one.
func TestReadme(t *testing.T) {
	t.Setenv("PUSHGUARD_TIMEOUT", "60") // the listener's two seconds are for a task that waits
	guard := gatewaytest.FreeAddress(t)
	r := walk{
		dir:   "../..",
		to:    strings.NewReplacer("127.0.0.1:9091", guard, "pushguard serve", "pushguard serve --web.listen-address="+guard),
		from:  strings.NewReplacer(guard, "127.0.0.1:9091"),
		guard: guard,
	}
	steps := session(t, "../../README.md")
	if len(steps) < 9 || steps[0].command != "pushguard serve &\n" {
		t.Fatalf("the page has %d commands, the first of which is to start a guard: %v", len(steps), steps)
	}
	r.follow(t, steps)
	dir := t.TempDir()
	writePolicy(t, dir, pageOf(t, "../../README.md"))
	r.run(t, "pushguard check "+filepath.Join(dir, "policy.yml"))
}

// writePolicy keeps the policy that a text shows in full, and reports whether it does.
func writePolicy(t *testing.T, dir, text string) bool {
	t.Helper()
	block := regexp.MustCompile("(?s)```yaml\n(version: v1\n.*?)```").FindStringSubmatch(text)
	if block == nil {
		return false
	}
	if err := os.WriteFile(filepath.Join(dir, "policy.yml"), []byte(block[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	return true
}

// So is every command of docs/dashboards.md, promtool's among them.
func TestDashboards(t *testing.T) {
	if _, err := exec.LookPath("promtool"); err != nil {
		const advice = "promtool is missing: apt-get install prometheus"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	tourist(t, "").follow(t, session(t, "../../docs/dashboards.md"))
}

// So is every command of docs/tour.md, each part with a guard of its own and in a folder
// that looks like the repository's and has the policy that the part shows.
func TestTour(t *testing.T) {
	const page = "../../docs/tour.md"
	parts := strings.Split(pageOf(t, page), "\n## ")[1:]
	if len(parts) < 9 {
		t.Fatalf("the page has only %d parts", len(parts))
	}
	for _, part := range parts {
		name, text, _ := strings.Cut(part, "\n")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tourist(t, text).follow(t, steps(t, page, text))
		})
	}
}

// tourist is ready for a part of the tour.
func tourist(t *testing.T, text string) walk {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"deploy", "cmd"} {
		real, err := filepath.Abs("../../" + folder)
		if err == nil {
			err = os.Symlink(real, filepath.Join(dir, folder))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	guard, gateway := gatewaytest.FreeAddress(t), gatewaytest.FreeAddress(t)
	r := walk{
		dir: dir,
		to: strings.NewReplacer("127.0.0.1:9091", guard, "127.0.0.1:9092", gateway, "pushgateway --", "prometheus-pushgateway --persistence.file= --",
			"pushguard serve", "pushguard serve --web.listen-address="+guard, "/tmp/", dir+"/"),
		from:  strings.NewReplacer(guard, "127.0.0.1:9091", gateway, "127.0.0.1:9092"),
		guard: guard,
	}
	if writePolicy(t, dir, text) {
		r.run(t, "pushguard check policy.yml")
	}
	return r
}

// follow runs the commands of a page, at least so many.
func follow(t *testing.T, page string, least int) {
	t.Helper()
	gateway, guard := gatewaytest.Start(t).Host, gatewaytest.FreeAddress(t)
	r := walk{
		dir:  t.TempDir(),
		to:   strings.NewReplacer("pushgateway:9091", gateway, "pushguard:9091", guard),
		from: strings.NewReplacer(gateway, "pushgateway:9091", guard, "pushguard:9091"),
	}
	steps := session(t, page)
	if len(steps) < least {
		t.Fatalf("the page has only %d commands", len(steps))
	}
	r.follow(t, steps)
}

// follow runs commands, and has each show what its page says.
func (r walk) follow(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		if got := r.run(t, s.command); !shows(s.want, strings.TrimSuffix(got, "\n")+strings.Repeat("\n", min(1, len(got)))) {
			t.Errorf("$ %sshows\n%s\nand not\n%s", s.command, got, s.want)
		}
	}
}

func TestShows(t *testing.T) {
	for _, tc := range []struct {
		want, got string
		ok        bool
	}{
		{"digest …)\n", "digest 12ab)\n", true},
		{"a\n", "a\nb\n", false},
		{"a.c\n", "abc\n", false},
		{"…\n", "a\nb\n", false},
		{"", "unexpected\n", false},
	} {
		if shows(tc.want, tc.got) != tc.ok {
			t.Errorf("shows(%q, %q) is %t", tc.want, tc.got, !tc.ok)
		}
	}
}
