package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/trial"
)

// errTestsFailed says that a test has failed, or that there is none to pass; which
// has been told.
var errTestsFailed = errors.New("tests failed")

// testCommand is the subcommand test: its flags and arguments, as given.
type testCommand struct {
	files     []string
	only      string
	junit     string
	utf8Names bool
	limits    limitFlags
}

func newTestCommand(app *kingpin.Application) *testCommand {
	c := &testCommand{}
	cmd := app.Command("test", "Run the tests of policies, those of the files named _test.yml beside them, too. Exits with 0 if all pass, with 1 if one fails or a file has faults, with 2 if a file cannot be read.")
	cmd.Arg("FILE...", "A policy, or a file of tests.").Required().StringsVar(&c.files)
	cmd.Flag("run", "Run only tests whose name this regular expression matches.").PlaceHolder("RE").StringVar(&c.only)
	cmd.Flag("junit", "Write what came out to this file, too, as JUnit XML.").PlaceHolder("FILE").StringVar(&c.junit)
	cmd.Flag("push.enable-utf8-names", "Accept UTF-8 metric and label names, as serve does with this flag.").BoolVar(&c.utf8Names)
	c.limits.add(cmd)
	return c
}

// tested is what came out of one test.
type tested struct {
	test        policy.Test
	differences []trial.Difference
	took        time.Duration
}

// suite is the tests of one file, or why there are none.
type suite struct {
	file   string
	policy *policy.Policy
	tests  []policy.Test
	fault  error
	done   []tested
}

// run runs the tests of every file, whatever came out of the one before.
func (c *testCommand) run(ctx context.Context, stdout, stderr io.Writer) error {
	only, err := regexp.Compile(c.only)
	if err != nil {
		return flagFault("--run=%q: %v", cut(c.only), err)
	}
	suites := c.suites()
	for i := range suites {
		if err := c.runSuite(ctx, &suites[i], only); err != nil {
			return err
		}
		suites[i].tell(stdout, stderr)
	}
	if c.junit != "" {
		if err := writeJUnit(c.junit, suites); err != nil {
			return err
		}
	}
	return c.result(suites, stdout)
}

// suites are the files that were asked for and the tests beside them, each once.
func (c *testCommand) suites() []suite {
	var out []suite
	seen := map[string]bool{}
	for _, file := range c.files {
		for _, s := range suitesOf(file) {
			if file := filepath.Clean(s.file); !seen[file] {
				seen[file] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// suitesOf are those of a file that was asked for: of a policy also its files of tests.
func suitesOf(file string) []suite {
	if policy.IsTestFile(file) {
		s, _ := loadTests(file)
		return []suite{s}
	}
	p, err := policy.Load(file)
	if err != nil {
		return []suite{{file: file, fault: err}}
	}
	out := []suite{{file: file, policy: p, tests: p.Tests()}}
	ours := append(p.Files(), file)
	for _, beside := range testsBeside(file) {
		of, tests, err := policy.LoadTests(beside)
		if slices.ContainsFunc(ours, func(name string) bool { return filepath.Clean(name) == filepath.Clean(of) }) {
			out = append(out, suite{file: beside, policy: p, tests: tests, fault: err})
		}
	}
	return out
}

// testsBeside are the files of tests in the folder of a policy, or in the folder that
// is the policy, by name.
func testsBeside(file string) []string {
	folder := file
	if info, err := os.Stat(file); err != nil || !info.IsDir() {
		folder = filepath.Dir(file)
	}
	entries, _ := os.ReadDir(folder) // which has the policy in it
	var out []string
	for _, e := range entries {
		if policy.IsTestFile(e.Name()) {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	return out
}

// loadTests reads a file of tests and the policy that it names, and returns which
// that is.
func loadTests(file string) (s suite, of string) {
	of, tests, err := policy.LoadTests(file)
	if err != nil {
		return suite{file: file, fault: err}, of
	}
	p, err := policy.Load(of)
	return suite{file: file, policy: p, tests: tests, fault: err}, of
}

func (c *testCommand) runSuite(ctx context.Context, s *suite, only *regexp.Regexp) error {
	for _, t := range s.tests {
		if s.fault != nil || !only.MatchString(t.Name) {
			continue
		}
		begun := time.Now()
		differences, err := trial.Test(ctx, trial.Config{Policy: s.policy, Caps: c.limits.caps(), UTF8Names: c.utf8Names}, t)
		if err != nil {
			return err
		}
		s.done = append(s.done, tested{test: t, differences: differences, took: time.Since(begun)})
	}
	return nil
}

// result sums up, and says by its error how to exit.
func (c *testCommand) result(suites []suite, stdout io.Writer) error {
	ran, failed, faulty := 0, 0, error(nil)
	for _, s := range suites {
		if s.fault != nil && (faulty == nil || !errors.As(s.fault, new(policy.Faults))) {
			faulty = s.fault
		}
		for _, t := range s.done {
			ran++
			if len(t.differences) > 0 {
				failed++
			}
		}
	}
	if ran > 0 {
		fmt.Fprintf(stdout, "%s: %d passed, %d failed\n", plural(ran, "test"), ran-failed, failed)
	}
	switch {
	case faulty != nil && !errors.As(faulty, new(policy.Faults)):
		return usageError{fmt.Sprintf("pushguard: %v", faulty)}
	case faulty != nil || failed > 0:
		return errTestsFailed
	case ran == 0 && c.only != "":
		return fmt.Errorf("--run=%q: no test has such a name", cut(c.only))
	}
	return nil
}

// plural counts what has a plural with an s, or like push with es.
func plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "sh"):
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
