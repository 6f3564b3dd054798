package event

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/common/config"
	"go.yaml.in/yaml/v4"
)

// Target is an event log: its URL, and how to speak to it.
type Target struct {
	// URL is one of those that the package doc lists. It holds no credentials.
	URL string `yaml:"url"`
	// Tenant is sent as X-Scope-OrgID.
	Tenant string `yaml:"tenant,omitempty"`
	// User and PasswordFile are ClickHouse's own, sent as X-ClickHouse-User and
	// X-ClickHouse-Key. HTTP's are in HTTP.
	User         string `yaml:"user,omitempty"`
	PasswordFile string `yaml:"password_file,omitempty"`
	// Headers go with every request.
	Headers map[string]string `yaml:"headers,omitempty"`
	// HTTP is Prometheus' http_config: basic_auth, authorization, oauth2,
	// tls_config or a proxy. Redirects are never followed.
	HTTP config.HTTPClientConfig `yaml:"http_config,omitempty"`
}

// Name is what the target is called in metrics, the log and the state directory:
// its kind, and a number that is that of its URL.
func (t Target) Name() string {
	kind, _, _ := strings.Cut(t.URL, ":")
	kind, _, _ = strings.Cut(kind, "+")
	h := fnv.New32a()
	_, _ = io.WriteString(h, t.URL)
	return fmt.Sprintf("%s-%08x", strings.ToLower(kind[:min(len(kind), 16)]), h.Sum32())
}

// open returns the sink at the target.
func (t Target) open(stdout io.Writer, instance string, timeout time.Duration) (sink, error) {
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, errors.New("it is no URL") // which may hold a secret
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%s: must hold no credentials, query or fragment", u.Redacted())
	}
	kind, scheme, overHTTP := strings.Cut(u.Scheme, "+")
	switch {
	case t.URL == "stdout:":
		return &patient{sink: &lines{w: stdout}, timeout: timeout}, nil
	case u.Scheme == "file" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return &patient{sink: &file{path: u.Path}, timeout: timeout}, nil
	case u.Scheme == "file":
		return nil, fmt.Errorf("%s: want file:///PATH", u.Redacted())
	case !overHTTP || scheme != "http" && scheme != "https" || u.Host == "":
		shown := t.URL
		if at := strings.LastIndexByte(shown, '@'); at >= 0 {
			shown = "…" + shown[at:] // a URL that is none may have a password all the same
		}
		return nil, fmt.Errorf("%.100q: want loki+http://…, elasticsearch+http://…, clickhouse+http://…, otlp+http://… (or https), file:///… or the word stdout: alone", shown)
	}
	u.Scheme = scheme
	e, err := t.endpoint(u, timeout)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	return over(kind, e, instance)
}

// over is the sink of a kind that is spoken to over HTTP.
func over(kind string, e *endpoint, instance string) (sink, error) {
	path := strings.Trim(e.url.Path, "/")
	switch kind {
	case "loki":
		return newLoki(e), nil
	case "otlp":
		e.url = e.url.JoinPath("v1/logs")
		return newOTLP(e, instance), nil
	case "clickhouse":
		return newClickhouse(e)
	case "elasticsearch":
		if path == "" {
			return nil, errors.New("want elasticsearch+http://HOST:PORT/DATA-STREAM")
		}
		e.url = e.url.JoinPath("_bulk")
		return elasticsearch{e}, nil
	default:
		return nil, fmt.Errorf("unknown event log %.50q: there are loki, elasticsearch, clickhouse, otlp, file and stdout", kind)
	}
}

func (t Target) endpoint(u *url.URL, timeout time.Duration) (*endpoint, error) {
	client, err := config.NewClientFromConfig(t.HTTP, "events", config.WithHTTP2Disabled())
	if err != nil {
		return nil, err
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e := &endpoint{client: client, url: u, header: http.Header{}, timeout: timeout}
	for name, value := range t.Headers {
		e.header.Set(name, value)
	}
	if t.Tenant != "" {
		e.header.Set("X-Scope-OrgID", t.Tenant)
	}
	if t.User != "" {
		e.header.Set("X-ClickHouse-User", t.User)
	}
	if t.PasswordFile != "" {
		if _, err := readPassword(t.PasswordFile); err != nil {
			return nil, err
		}
		e.passwordFile = t.PasswordFile
	}
	return e, nil
}

// LoadTargets reads a file of targets:
//
//	sinks:
//	- url: loki+https://loki:3100
//	  tenant: batch
//	  http_config: {basic_auth: {username: pushguard, password_file: loki.password}}
//
// Unknown keys are errors, and relative paths are relative to the file.
func LoadTargets(path string) ([]Target, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var written struct {
		Sinks []Target `yaml:"sinks"`
	}
	decoder := yaml.NewDecoder(bytes.NewReader(b))
	decoder.KnownFields(true)
	if err := decoder.Decode(&written); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	dir := filepath.Dir(path)
	for i := range written.Sinks {
		t := &written.Sinks[i]
		if t.URL == "" {
			return nil, fmt.Errorf("%s: sinks[%d]: url is missing", path, i)
		}
		t.HTTP.SetDirectory(dir)
		t.PasswordFile = config.JoinDir(dir, t.PasswordFile)
	}
	return written.Sinks, nil
}
