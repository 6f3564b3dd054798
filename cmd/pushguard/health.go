package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"
	"github.com/prometheus/common/config"
)

// healthCommand is the subcommand health: its flags, as given.
type healthCommand struct {
	url        *url.URL
	live       bool
	configFile string
	timeout    time.Duration
}

func newHealthCommand(app *kingpin.Application) *healthCommand {
	c := &healthCommand{}
	cmd := app.Command("health", "Ask a pushguard whether it is ready: for the checks of containers, whose image has no curl. Exits with 0 if it is, with 1 if not, with 2 if a flag is wrong.")
	flag(cmd, "url", "URL of the guard, with its route prefix if it has one.", &c.url, parseUpstream).
		Default("http://127.0.0.1:9091").Envar("PUSHGUARD_URL")
	cmd.Flag("live", "Ask no more than whether it answers: a guard lives though the Pushgateway behind is down, and restarting it would mend nothing. Without --config.file any certificate will do.").
		BoolVar(&c.live)
	cmd.Flag("config.file", "File that says how to speak to the URL: TLS, credentials and headers, as serve's --pushgateway.config.file.").
		PlaceHolder("FILE").StringVar(&c.configFile)
	flag(cmd, "timeout", "How long the answer may take.", &c.timeout, parseTimeout).Default("5s")
	return c
}

// run asks once. What it prints is for who looks at why a container is unhealthy.
func (c *healthCommand) run(ctx context.Context, stdout io.Writer) error {
	client, err := c.client()
	if err != nil {
		return flagFault("--config.file: %s", oneLine(err))
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	path := "-/ready"
	if c.live {
		path = "-/healthy"
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url.JoinPath(path).String(), nil) // #nosec G125 -- one of the two paths above
	if err != nil {
		return flagFault("--url: %v", err)
	}
	r.Header.Set("User-Agent", product())
	answer, err := client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 200))
	if err != nil {
		return fmt.Errorf("%s: %w", r.URL.Redacted(), err)
	}
	line := fmt.Sprintf("%s: %s: %s", r.URL.Redacted(), answer.Status, strings.TrimSpace(string(said)))
	if answer.StatusCode != http.StatusOK && !c.live {
		return fmt.Errorf("%s", line)
	}
	fmt.Fprintln(stdout, line)
	return nil
}

// client never follows a redirect, which no pushguard answers with.
func (c *healthCommand) client() (*http.Client, error) {
	cfg := &config.HTTPClientConfig{}
	if c.configFile != "" {
		var err error
		if cfg, _, err = config.LoadHTTPConfigFile(c.configFile); err != nil {
			return nil, err
		}
	} else if c.live && c.url.User == nil {
		// No certificate is for 127.0.0.1, where a container asks itself, and nothing is
		// sent that somebody else must not read.
		cfg.TLSConfig.InsecureSkipVerify = true
	}
	cfg.FollowRedirects = false
	return config.NewClientFromConfig(*cfg, "pushguard health")
}
