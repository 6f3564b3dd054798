package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// exitCode says how to exit, where that has been told or is another's to tell.
type exitCode int

// Error is part of error.
func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// pushCommand is the subcommand push: its flags and arguments, as given.
type pushCommand struct {
	given, job                    string
	grouping, gauges, counters    []string
	increment, remove, failOnPush bool
	method, key                   string
	configFile                    string
	user, passwordFile, tokenFile string
	timeout                       time.Duration
	args                          []string

	file    string
	command []string
	url     *url.URL
}

func newPushCommand(app *kingpin.Application) *pushCommand {
	c := &pushCommand{}
	cmd := app.Command("push", "Push metrics from a shell or from cron: of a file, of flags, or of a command that is run. Works with pushguard and with a Pushgateway alone. What may pass is tried again. Exits with 0 if the push was accepted, with 1 if not; of a command that was run, with the command's own code.")
	cmd.Arg("FILE | -- COMMAND...", "A file in the text format, without one stdin; or after -- a command to run, of which duration, exit code, start and last success are pushed.").StringsVar(&c.args)
	cmd.Flag("url", "pushguard or a Pushgateway, with its route prefix if it has one.").
		Default("http://127.0.0.1:9091").Envar("PUSHGUARD_URL").StringVar(&c.given)
	cmd.Flag("job", "The job that pushes. Required.").PlaceHolder("NAME").StringVar(&c.job)
	cmd.Flag("grouping", "Another label of the grouping key. Repeatable.").PlaceHolder("NAME=VALUE").StringsVar(&c.grouping)
	cmd.Flag("gauge", "Push a gauge, such as 'rows{table=\"t\"}=7'. Repeatable.").PlaceHolder("SERIES=VALUE").StringsVar(&c.gauges)
	cmd.Flag("counter", "Push a counter. Repeatable.").PlaceHolder("SERIES=VALUE").StringsVar(&c.counters)
	cmd.Flag("increment", "Counters begin with this push: pushguard adds them to its totals whole. A Pushgateway alone shows them as they are.").BoolVar(&c.increment)
	word(cmd, "method", "post replaces the metrics of the same name in the group, put replaces the group.", &c.method, "post", "put").Default("post")
	cmd.Flag("delete", "Delete the group.").BoolVar(&c.remove)
	cmd.Flag("fail-on-push", "Exit with 1 if the push fails, though the command did not.").BoolVar(&c.failOnPush)
	flag(cmd, "timeout", "How long to try, all attempts and waits together.", &c.timeout, parseTimeout).Default("1m")
	cmd.Flag("idempotency-key", "What tells this push from others: one key counts once within an hour. By default each push has its own, which its retries share.").
		PlaceHolder("KEY").StringVar(&c.key)
	cmd.Flag("config.file", "File that says how to speak to the URL: TLS, credentials and headers, as serve's --pushgateway.config.file.").
		PlaceHolder("FILE").StringVar(&c.configFile)
	cmd.Flag("user", "User of basic auth. The password is in --password-file or $PUSHGUARD_PASSWORD.").
		PlaceHolder("NAME").Envar("PUSHGUARD_USER").StringVar(&c.user)
	cmd.Flag("password-file", "File with the password of basic auth.").PlaceHolder("FILE").StringVar(&c.passwordFile)
	cmd.Flag("bearer-token-file", "File with a bearer token; or it is in $PUSHGUARD_TOKEN.").PlaceHolder("FILE").StringVar(&c.tokenFile)
	return c
}

// run pushes once, and before that runs the command, if there is one. args are those
// of the program, which tell a command from a file.
func (c *pushCommand) run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if err := c.split(args); err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	request, to, err := c.prepare()
	if err != nil {
		return err
	}
	defer to.upstream.Close()
	if len(c.command) == 0 {
		if err := c.fill(&request, stdin, nil, time.Now()); err != nil {
			return err
		}
		return to.send(ctx, request)
	}
	done := runCommand(ctx, c.command, stdin, stdout, stderr)
	err = c.report(context.WithoutCancel(ctx), to, request, &done)
	if err != nil {
		fmt.Fprintf(stderr, "pushguard: %v\n", err)
	}
	switch {
	case done.code != 0:
		return exitCode(done.code)
	case err != nil && c.failOnPush:
		return exitCode(exitFailure)
	}
	return nil
}

// report pushes what became of the command; also where its file cannot be pushed with
// that: that the job has failed to write it is no reason to be silent about the job.
func (c *pushCommand) report(ctx context.Context, to *sender, r gateway.Request, done *ranCommand) error {
	bad := c.fill(&r, nil, done, done.started)
	if bad != nil {
		c.file = ""
		if err := c.fill(&r, nil, done, done.started); err != nil {
			return errors.Join(bad, err)
		}
	}
	return errors.Join(bad, to.send(ctx, r))
}

// split tells the file from the command: what follows the first -- is the command.
func (c *pushCommand) split(args []string) error {
	if at := slices.Index(args, "--"); at >= 0 {
		c.command = args[at+1:]
		if len(c.command) == 0 || len(c.command) > len(c.args) {
			return flagFault("--: want a command to run after it, and push before it")
		}
		c.args = c.args[:len(c.args)-len(c.command)]
	}
	if len(c.args) > 0 {
		c.file = c.args[0]
	}
	return nil
}

// check finds the faults that no flag can find in itself alone.
func (c *pushCommand) check() error {
	switch {
	case c.job == "":
		return flagFault("--job is required: the job that pushes")
	case len(c.args) > 1:
		return flagFault("%q: want one file; a command comes after --", cut(c.args[1]))
	case c.remove && (c.brings() || c.increment):
		return flagFault("--delete pushes nothing: leave out the metrics")
	case c.failOnPush && len(c.command) == 0:
		return flagFault("--fail-on-push is for commands: a push alone fails in any case")
	}
	return nil
}

// brings reports whether there is something to push besides what stdin may have.
func (c *pushCommand) brings() bool {
	return c.file != "" || len(c.gauges)+len(c.counters)+len(c.command) > 0
}

// prepare makes the request but for its body, and where it goes, so that what is
// wrong with either is said before a command is run.
func (c *pushCommand) prepare() (gateway.Request, *sender, error) {
	key, err := groupingKey(c.job, c.grouping, true)
	if err != nil {
		return gateway.Request{}, nil, err
	}
	if err := c.checkFamilies(); err != nil {
		return gateway.Request{}, nil, err
	}
	to, err := c.sender()
	if err != nil {
		return gateway.Request{}, nil, err
	}
	r := gateway.Request{Method: strings.ToUpper(c.method), Key: key, Header: http.Header{"User-Agent": {product()}}}
	r.Header.Set("Idempotency-Key", cmp.Or(c.key, rand.Text()))
	if c.remove {
		r.Method = http.MethodDelete
		r.Header.Del("Idempotency-Key")
	}
	return r, to, c.authorize(r.Header)
}

func (c *pushCommand) sender() (*sender, error) {
	var err error
	if c.url, err = parseUpstream(c.given); err != nil {
		return nil, flagFault("--url=%q: %v", cut(c.given), err)
	}
	bare := *c.url
	bare.User = nil // which goes into a header
	client, err := loadClient("config.file", c.configFile)
	if err != nil {
		return nil, err
	}
	upstream, err := gateway.New(gateway.Config{URL: &bare, Client: client, UserAgent: product()})
	if err != nil {
		return nil, flagFault("--url: %v", err)
	}
	return &sender{upstream: upstream, url: bare.String(), timeout: c.timeout, now: time.Now, wait: waitFor}, nil
}

// authorize sets who pushes, from the first of flags, URL and environment that says
// so. Secrets are never arguments, which every user of a machine can read.
func (c *pushCommand) authorize(h http.Header) error {
	token, err := secret(c.tokenFile, "PUSHGUARD_TOKEN")
	if err != nil {
		return flagFault("--bearer-token-file: %v", err)
	}
	password, err := secret(c.passwordFile, "PUSHGUARD_PASSWORD")
	if err != nil {
		return flagFault("--password-file: %v", err)
	}
	r := http.Request{Header: h}
	switch {
	case c.user != "" && c.tokenFile != "":
		return flagFault("--user and --bearer-token-file: want one of them")
	case c.user != "":
		r.SetBasicAuth(c.user, password)
	case c.url.User != nil:
		password, _ := c.url.User.Password()
		r.SetBasicAuth(c.url.User.Username(), password)
	case token != "":
		h.Set("Authorization", "Bearer "+token)
	}
	return nil
}

// secret reads a secret from a file, without the newline at its end, or else from
// the environment.
func secret(file, variable string) (string, error) {
	if file == "" {
		return os.Getenv(variable), nil
	}
	text, err := os.ReadFile(file)
	if err == nil && len(strings.TrimSpace(string(text))) == 0 {
		err = errors.New("the file is empty")
	}
	return strings.TrimRight(string(text), "\r\n"), err
}
