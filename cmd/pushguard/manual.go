package main

import (
	_ "embed"
	"fmt"
	"io"
	"strings"
	"text/template"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/version"
)

// manTemplate is the manual page in terms of kingpin's model of the flags.
//
//go:embed manual.tmpl
var manTemplate string

// addManualCommand adds the subcommand man.
func addManualCommand(app *kingpin.Application) {
	app.Command("man", "Print the manual page: pushguard man | man -l -")
}

// printManual writes the manual page in man's own macros.
func printManual(app *kingpin.Application, stdout io.Writer) error {
	app.UsageWriter(stdout)
	app.UsageFuncs(template.FuncMap{
		"roff":    roff,
		"version": func() string { return version.Version },
	})
	context, err := app.ParseContext(nil)
	if err != nil {
		return err
	}
	return app.UsageForContextWithTemplate(context, 0, manTemplate)
}

// roff escapes text for a manual page: a hyphen is what is typed, and no line of text
// is a macro.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// completionCommand is the subcommand completion: its argument, as given.
type completionCommand struct {
	shell string
}

func newCompletionCommand(app *kingpin.Application) *completionCommand {
	c := &completionCommand{}
	cmd := app.Command("completion", "Print the completion of a shell: source <(pushguard completion bash)")
	cmd.Arg("SHELL", "bash, zsh or fish.").Required().HintOptions("bash", "zsh", "fish").EnumVar(&c.shell, "bash", "zsh", "fish")
	return c
}

// fishCompletion asks the binary, as kingpin's own completions do.
const fishCompletion = `complete -c pushguard -a '(set -l words (commandline -opc) (commandline -ct); $words[1] --completion-bash $words[2..-1])'
`

// run writes the completion. Those of bash and zsh are kingpin's.
func (c *completionCommand) run(app *kingpin.Application, stdout io.Writer) error {
	script := map[string]string{"bash": kingpin.BashCompletionTemplate, "zsh": kingpin.ZshCompletionTemplate}[c.shell]
	if script == "" {
		_, err := fmt.Fprint(stdout, fishCompletion)
		return err
	}
	app.UsageWriter(stdout)
	context, err := app.ParseContext(nil)
	if err != nil {
		return err
	}
	return app.UsageForContextWithTemplate(context, 0, script)
}
