// Command pushguard stands where batch jobs expect a Prometheus Pushgateway and
// keeps every job inside the cardinality it was granted.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/promslog"
	promslogflag "github.com/prometheus/common/promslog/flag"
	"github.com/prometheus/common/version"
)

// The exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // the world was in the way: an address in use, a full disk; check found faults; explain's push is refused; a test fails; replay's policies differ; a stale group is left
	exitUsage   = 2 // what pushguard was given is wrong: a flag, the policy it is to serve
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the whole program with its ends in the caller's hand: it returns the
// exit code. Help and version go to stdout, faults and the log to stderr.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	page := &sheet{w: stdout}
	app, answered := newApplication(len(args) == 0, page, stderr)
	logConfig := promslog.Config{Writer: stderr}
	promslogflag.AddFlags(app, &logConfig)
	serve := newServeCommand(app)
	check := newCheckCommand(app)
	explain := newExplainCommand(app)
	sweep := newSweepCommand(app)
	search := newAuditCommand(app)
	test := newTestCommand(app)
	push := newPushCommand(app)
	learn := newLearnCommand(app)
	replay := newReplayCommand(app)
	health := newHealthCommand(app)
	completion := newCompletionCommand(app)
	addManualCommand(app)

	commands := map[string]func() error{
		"serve":      func() error { return serve.run(ctx, promslog.New(&logConfig)) },
		"explain":    func() error { return explain.run(ctx, stdin, stdout) },
		"push":       func() error { return push.run(ctx, args, stdin, stdout, stderr) },
		"learn":      func() error { return learn.run(ctx, stdin, stdout, stderr) },
		"test":       func() error { return test.run(ctx, page, stderr) },
		"audit":      func() error { return search.run(ctx, time.Now(), stdout, stderr) },
		"replay":     func() error { return replay.run(ctx, stdout, stderr) },
		"sweep":      func() error { return sweep.run(ctx, stdout, stderr) },
		"health":     func() error { return health.run(ctx, stdout) },
		"completion": func() error { return completion.run(app, stdout) },
		"man":        func() error { return printManual(app, stdout) },
	}

	if err := valuedSwitch(app, args); err != nil {
		return exit(stderr, err)
	}
	code := exitOK
	command, err := app.Parse(args)
	answer, given := answered()
	switch {
	case given:
		code = answer
	case err != nil:
		code = exit(stderr, flagFault("%v", err))
	case command != "push" && slices.Contains(args, "-"): // which kingpin takes for nothing
		code = exit(stderr, flagFault("- is not standard input here: name a file, such as /dev/stdin; for learn it is --from=-"))
	case command == "check":
		code = check.run(time.Now(), page, stderr)
	default:
		code = exit(stderr, commands[command]())
	}
	return max(code, exit(stderr, page.err))
}

// newApplication returns the program without its commands. Help and the version go to page,
// and answered says whether one of them was, and how the program then ends.
func newApplication(brief bool, page, stderr io.Writer) (app *kingpin.Application, answered func() (code int, given bool)) {
	app = kingpin.New("pushguard", "A cardinality guard in front of the Prometheus Pushgateway.")
	app.HelpFlag.Short('h').Help("Show help: of everything, or of the command named.")
	app.Version(version.Print("pushguard"))
	app.UsageTemplate(usageTemplate)
	if brief {
		app.UsageTemplate(briefTemplate)
	}
	app.UsageWriter(page)
	app.ErrorWriter(faultWriter{app.Name + ": error: ", stderr})

	// Kingpin expects Terminate to end the process. Where it does not, Parse
	// goes on and may print help after the version: only the first answer counts.
	given, answer := false, exitOK
	app.Terminate(func(code int) {
		if !given && code != 0 { // help was asked for a command that there is not
			answer = exitUsage
		}
		given = true
		app.UsageWriter(io.Discard)
	})
	return app, func() (int, bool) { return answer, given }
}

// valuedSwitch is the fault of a flag that is given or not, if one has a value: kingpin would
// take that for an argument, and true for the file to push.
func valuedSwitch(app *kingpin.Application, args []string) error {
	switches := map[string]bool{}
	for _, of := range append([]*kingpin.CmdModel{{FlagGroupModel: app.Model().FlagGroupModel}}, app.Model().Commands...) {
		for _, f := range of.Flags {
			switches[f.Name] = switches[f.Name] || f.IsBoolFlag()
		}
	}
	for _, arg := range args {
		given, value, valued := strings.Cut(arg, "=")
		name := strings.TrimPrefix(strings.TrimPrefix(given, "--"), "no-")
		switch {
		case arg == "--":
			return nil
		case valued && strings.HasPrefix(arg, "--") && switches[name]:
			return flagFault("%s=%s: it takes no value: --%s, or --no-%s", given, cut(value), name, name)
		}
	}
	return nil
}

// sheet is stdout for who does not look whether it takes what is written: check, test, and
// kingpin, which panics where its help cannot be. It remembers the first fault.
type sheet struct {
	w   io.Writer
	err error
}

func (s *sheet) Write(b []byte) (int, error) {
	if s.err == nil {
		_, s.err = s.w.Write(b)
	}
	return len(b), nil
}

// faultWriter has what kingpin tells of itself, where help is asked for a command that there is
// not, read as any other fault of the flags.
type faultWriter struct {
	prefix string
	w      io.Writer
}

func (f faultWriter) Write(b []byte) (int, error) {
	exit(f.w, flagFault("%s", strings.TrimPrefix(strings.TrimSpace(string(b)), f.prefix)))
	return len(b), nil
}

// exit says what went wrong, if anything did, and returns the exit code.
func exit(stderr io.Writer, err error) int {
	var wrong usageError
	var code exitCode
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errRefused), errors.Is(err, errTestsFailed), errors.Is(err, errDiffers): // which has been told
		return exitFailure
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &wrong):
		fmt.Fprintln(stderr, wrong.message)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "pushguard: %v\n", err)
		return exitFailure
	}
}

// usageError is a fault in what pushguard was given rather than in what it did.
type usageError struct{ message string }

func (e usageError) Error() string { return e.message }

func flagFault(format string, args ...any) error {
	return usageError{fmt.Sprintf("pushguard: "+format+", try --help", args...)}
}

// briefTemplate is for who says nothing: what there is, in a screen.
const briefTemplate = `usage: {{.App.Name}} <command> [<flags>]

{{.App.Help}}

{{range .App.Commands}}{{if not .Hidden}}  {{.Name}}
{{.Help|Wrap 6}}{{end}}{{end}}
{{.App.Name}} COMMAND -h lists the flags of a command, {{.App.Name}} -h all there are.
{{.App.Name}} serve needs none.
`

// usageTemplate is kingpin's own but for the commands, whose flags it lists: one
// -h shows everything there is.
const usageTemplate = `usage: {{.App.Name}} {{with .Context.SelectedCommand}}{{.}} [<flags>]{{if .Args}} {{.ArgSummary}}{{end}}{{else}}[<flags>] <command>{{end}}
{{with .Context.SelectedCommand}}
{{.Help|Wrap 0}}{{else}}
{{.App.Help|Wrap 0}}{{end}}
Flags:
{{.Context.Flags|FlagsToTwoColumns|FormatTwoColumns}}
{{- if not .Context.SelectedCommand}}
Commands:
{{- range .App.FlattenedCommands}}{{if not .Hidden}}
  {{.FullCommand}}{{if .Args}} {{.ArgSummary}}{{end}}
{{.Help|Wrap 4}}
{{- with .Flags|FlagsToTwoColumns}}
{{FormatTwoColumnsWithIndent . 4 2}}{{end}}
{{- end}}{{end}}
{{- end}}`
