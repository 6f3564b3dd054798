package main

import (
	"context"
	"encoding/json"
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
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/story"
	"github.com/pushguard/pushguard/proxy/trial"
	"github.com/pushguard/pushguard/proxy/wire"
)

// errRefused says that the explained push would not be accepted.
var errRefused = errors.New("the push would be refused")

// explainCommand is the subcommand explain: its flags, as given.
type explainCommand struct {
	policyFile  string
	job         string
	grouping    []string
	method      string
	contentType string
	utf8Names   bool
	statsd      *url.URL
	capture     string
	output      string
	color       string
	limits      limitFlags

	url, as, configFile           string
	user, passwordFile, tokenFile string
	timeout                       time.Duration
}

func newExplainCommand(app *kingpin.Application) *explainCommand {
	c := &explainCommand{}
	cmd := app.Command("explain", "Tell step by step what would become of a push read from stdin: by a policy alone, or on a guard that serves. Nothing is changed, and nothing sent on. Exits with 0 if the push would be accepted, with 1 if it would be refused.")
	cmd.Flag("policy.file", "The policy: a file, or a folder of files. It, or --url, is required.").PlaceHolder("FILE").StringVar(&c.policyFile)
	cmd.Flag("job", "The job that pushes. Required without --capture.").PlaceHolder("NAME").StringVar(&c.job)
	cmd.Flag("grouping", "Another label of the grouping key. Repeatable.").PlaceHolder("NAME=VALUE").StringsVar(&c.grouping)
	word(cmd, "method", "PUT, POST or DELETE.", &c.method, http.MethodPut, http.MethodPost, http.MethodDelete).Default(http.MethodPut)
	cmd.Flag("content-type", "Content-Type of the push. The text format by default.").PlaceHolder("TYPE").StringVar(&c.contentType)
	cmd.Flag("push.enable-utf8-names", "Accept UTF-8 metric and label names, as serve does with this flag.").BoolVar(&c.utf8Names)
	flag(cmd, "statsd.address", "StatsD socket, as serve has it: without one counters go to the guard's own totals. Nothing is sent there either.", &c.statsd, parseSocket).
		PlaceHolder("URL")
	cmd.Flag("capture", "File with a recorded request to explain instead: JSON with request.method, .target, .headers and .body_base64.").
		PlaceHolder("FILE").StringVar(&c.capture)
	word(cmd, "output", "text for people, json for machines.", &c.output, "text", "json").Default("text")
	word(cmd, "color", "Colour the text: auto is on a terminal, unless the environment has NO_COLOR.", &c.color, "auto", "always", "never").
		Default("auto")
	cmd.Flag("url", "Ask this guard, with its route prefix if it has one, in place of a policy: by what it holds now and its own flags.").
		PlaceHolder("URL").StringVar(&c.url)
	cmd.Flag("as", "With --url, the user who would push; without, somebody who may.").PlaceHolder("NAME").StringVar(&c.as)
	cmd.Flag("config.file", "File that says how to speak to --url: TLS, credentials and headers, as serve's --pushgateway.config.file.").
		PlaceHolder("FILE").StringVar(&c.configFile)
	cmd.Flag("user", "User of basic auth, who may read. The password is in --password-file or $PUSHGUARD_PASSWORD.").
		PlaceHolder("NAME").StringVar(&c.user)
	cmd.Flag("password-file", "File with the password of basic auth.").PlaceHolder("FILE").StringVar(&c.passwordFile)
	cmd.Flag("bearer-token-file", "File with a bearer token; or it is in $PUSHGUARD_TOKEN.").PlaceHolder("FILE").StringVar(&c.tokenFile)
	flag(cmd, "timeout", "How long --url may take to answer.", &c.timeout, parseTimeout).Default("1m")
	c.limits.add(cmd)
	return c
}

// check finds the faults that no flag can find in itself alone.
func (c *explainCommand) check() error {
	switch {
	case c.policyFile == "" && c.url == "":
		return flagFault("--policy.file is required: deploy/policy.example.yml is one to start from; or --url of a guard to ask")
	case c.policyFile != "" && c.url != "":
		return flagFault("--url is a guard with a policy of its own: leave out --policy.file")
	case c.url == "" && c.as != "":
		return flagFault("--as is for --url: a policy alone lets everybody push")
	case c.capture == "" && c.job == "":
		return flagFault("--job is required: the job that pushes, or --capture with a recorded request")
	case c.capture != "" && (c.job != "" || len(c.grouping) > 0 || c.contentType != ""):
		return flagFault("--capture has the whole request in it: leave out --job, --grouping and --content-type")
	}
	return nil
}

// run explains one push; errRefused if it would be refused.
func (c *explainCommand) run(ctx context.Context, stdin io.Reader, stdout io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	told, err := c.explain(ctx, stdin)
	if err != nil {
		return err
	}
	if err := c.tell(stdout, told); err != nil {
		return err
	}
	if !told.Accepted() {
		return errRefused
	}
	return nil
}

// explain asks the guard at --url, or tries the push on one that has seen nothing yet.
func (c *explainCommand) explain(ctx context.Context, stdin io.Reader) (*proxy.Trace, error) {
	if c.url != "" {
		request, err := c.request(stdin)
		if err != nil {
			return nil, err
		}
		return c.ask(ctx, request)
	}
	rules, err := loadPolicy("policy.file", c.policyFile)
	if err != nil {
		return nil, err
	}
	request, err := c.request(stdin)
	if err != nil {
		return nil, err
	}
	return trial.Explain(ctx, trial.Config{
		Policy: rules, Caps: c.limits.caps(), UTF8Names: c.utf8Names, StatsD: c.statsd != nil,
	}, request)
}

func (c *explainCommand) request(stdin io.Reader) (proxy.Request, error) {
	if c.capture != "" {
		content, err := os.ReadFile(c.capture)
		if err != nil {
			return proxy.Request{}, flagFault("--capture: %v", err)
		}
		r, err := trial.ParseCapture(content)
		if err != nil {
			return proxy.Request{}, flagFault("--capture: %s: %v", c.capture, err)
		}
		return r, nil
	}
	key, err := groupingKey(c.job, c.grouping, c.utf8Names)
	if err != nil {
		return proxy.Request{}, err
	}
	header := http.Header{}
	if c.contentType != "" {
		header.Set("Content-Type", c.contentType)
	}
	return proxy.Request{Method: c.method, Path: key.Path(), Header: header, Body: stdin, Length: -1}, nil
}

// groupingKey is the key of a job and of the pairs that --grouping says. It refuses
// what a path could not say, or would say as another name.
func groupingKey(job string, grouping []string, utf8Names bool) (wire.Key, error) {
	ls := []labels.Label{{Name: model.JobLabel, Value: job}}
	for _, pair := range grouping {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case !ok || name == "":
			return wire.Key{}, flagFault("--grouping=%q: want name=value", cut(pair))
		case name == model.JobLabel:
			return wire.Key{}, flagFault("--grouping=%q: the job is --job", cut(pair))
		case slices.ContainsFunc(ls, func(l labels.Label) bool { return l.Name == name }): // the last would count
			return wire.Key{}, flagFault("--grouping=%q: the label %q is there twice", cut(pair), cut(name))
		case !model.LegacyValidation.IsValidLabelName(name) && !utf8Names:
			return wire.Key{}, flagFault("--grouping=%q: a label name like this wants --push.enable-utf8-names", cut(pair))
		}
		ls = append(ls, labels.Label{Name: name, Value: value})
	}
	return wire.NewKey(ls...), nil
}

func (c *explainCommand) tell(stdout io.Writer, told *proxy.Trace) error {
	if c.output == "json" {
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false)
		out.SetIndent("", "  ")
		return out.Encode(told)
	}
	_, err := io.WriteString(stdout, story.Teller{File: c.policyFile, Color: c.colored(stdout)}.Tell(told))
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// colored reports whether colours are wanted. A character device is as good as
// a terminal here: on /dev/null colours do no harm.
func (c *explainCommand) colored(stdout io.Writer) bool {
	if c.color != "auto" {
		return c.color == "always"
	}
	file, ok := stdout.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
