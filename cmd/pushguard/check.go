package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/policy"
)

// checkCommand is the subcommand check: its arguments, as given.
type checkCommand struct {
	files []string
}

func newCheckCommand(app *kingpin.Application) *checkCommand {
	c := &checkCommand{}
	cmd := app.Command("check", "Find every fault of policies, and of files of tests. Exits 0 if there is none, 1 if there are faults, 2 if a file cannot be read.")
	cmd.Arg("FILE...", "A policy, a file or a folder of files, or a file of tests.").Required().StringsVar(&c.files)
	return c
}

// run reads every file, whatever is wrong with the one before, and returns the
// exit code. Faults and warnings go to stderr as compilers write theirs, files
// without a fault to stdout.
func (c *checkCommand) run(now time.Time, stdout, stderr io.Writer) int {
	code := exitOK
	for _, file := range c.files {
		if policy.IsTestFile(file) {
			code = max(code, checkTests(file, stdout, stderr))
			continue
		}
		p, err := policy.Load(file)
		switch {
		case errors.As(err, new(policy.Faults)):
			fmt.Fprintln(stderr, err)
			code = max(code, exitFailure)
		case err != nil:
			code = max(code, exit(stderr, usageError{fmt.Sprintf("pushguard: %v", err)}))
		default:
			reportGood(file, p, now, stdout, stderr)
		}
	}
	return code
}

// checkTests reads a file of tests, not the policy that it names.
func checkTests(file string, stdout, stderr io.Writer) int {
	of, tests, err := policy.LoadTests(file)
	switch {
	case errors.As(err, new(policy.Faults)):
		fmt.Fprintln(stderr, err)
		return exitFailure
	case err != nil:
		return exit(stderr, usageError{fmt.Sprintf("pushguard: %v", err)})
	}
	fmt.Fprintf(stdout, "%s: ok (%s of %s)\n", file, plural(len(tests), "test"), of)
	return exitOK
}

func reportGood(file string, p *policy.Policy, now time.Time, stdout, stderr io.Writer) {
	for _, w := range p.Warnings(now) {
		w.Msg = "warning: " + w.Msg
		fmt.Fprintln(stderr, w.Error())
	}
	noun := "entries"
	if len(p.Entries()) == 1 {
		noun = "entry"
	}
	fmt.Fprintf(stdout, "%s: ok (%d %s, digest %s)\n", file, len(p.Entries()), noun, p.Digest())
}
