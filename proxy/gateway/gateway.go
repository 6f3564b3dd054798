// Package gateway is where snapshots go: a Pushgateway, spoken to over HTTP.
//
// It carries three kinds of traffic. Writes are pushes and deletes of one group
// (Do) and the few listed endpoints that change something (Forward): they are
// sent from memory, are never redirected, and end in an answer or in an error
// that says whether the upstream may have acted. Reads go through Proxy byte
// for byte. And Groups and UTF8Names ask the upstream about itself.
//
// The package knows neither policy nor ledger: it sends what it is given.
package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	dialTimeout     = 5 * time.Second
	idleConnections = 128 // of one upstream; more are closed after use
	idleTimeout     = 30 * time.Second
	maxAnswer       = 1 << 20 // bytes kept of the answer to a write
	maxHeader       = 1 << 20
)

// Config configures an Upstream.
type Config struct {
	// URL is the Pushgateway's, with its route prefix if it has one. Required.
	URL *url.URL
	// Timeout bounds a write, from the dial to the end of the answer, and the
	// questions with a short answer. 0 leaves it to the context.
	Timeout time.Duration
	// Client says who the guard is, with every request. What it sets, a client
	// cannot. Nil says nothing, and hands on the credentials of the clients.
	Client *Client
	// Breaker is when the upstream is left alone.
	Breaker Breaker
	// UserAgent is sent with the guard's own questions; clients' requests keep
	// theirs.
	UserAgent string
	// Observe is called once for every answer, when its header is in (that to a write
	// when all of it is), and for every request that got none, with status 0. The method is one of HTTP's or
	// "other". It is called from many goroutines. May be nil.
	Observe func(method string, status int, d time.Duration)
	// Logger is told of reads that break off once their answer has begun. Nil is
	// told nothing.
	Logger *slog.Logger
}

// Upstream is a Pushgateway. It is safe for concurrent use, and a collector of what its
// Breaker does.
type Upstream struct {
	scheme    string
	host      string
	prefix    string // escaped, without a final slash
	timeout   time.Duration
	userAgent string
	logger    *slog.Logger
	client    *Client
	transport http.RoundTripper
	reads     http.RoundTripper                                // transport, held by the breaker
	observe   func(method string, status int, d time.Duration) // may be nil
	links     *links                                           // nil where the transport must do it all
	breaker   *breaker                                         // nil if there is none
}

// New returns the upstream at the URL. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	u := cfg.URL
	switch {
	case u == nil:
		return nil, errors.New("the upstream has no url")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, fmt.Errorf("upstream url %.200q: scheme must be http or https", u.Redacted())
	case u.Host == "":
		return nil, fmt.Errorf("upstream url %.200q: no host", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("upstream url %.200q: must hold no credentials, query or fragment", u.Redacted())
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	client := cfg.Client
	if client == nil {
		client = &Client{transport: transport()}
	}
	var direct *links
	if cfg.Client == nil && u.Scheme == "http" && visible(u.Host) && !strings.Contains(u.Host, "%") {
		direct = newLinks(u.Host)
	}
	up := &Upstream{
		scheme:    u.Scheme,
		host:      u.Host,
		prefix:    strings.TrimRight(u.EscapedPath(), "/"),
		timeout:   cfg.Timeout,
		userAgent: cfg.UserAgent,
		logger:    logger,
		client:    client,
		observe:   cfg.Observe,
		links:     direct,
	}
	up.breaker = newBreaker(cfg.Breaker, up.Name(), logger)
	up.transport = observed{next: client.transport, observe: cfg.Observe}
	up.reads = held{up.transport, up.breaker}
	return up, nil
}

// transport says nothing of the guard. It speaks HTTP/1.1 straight to the upstream, whatever proxies the
// environment names, and leaves bodies compressed as they are.
func transport() *http.Transport {
	return &http.Transport{
		Proxy:                  nil,
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idleConnections,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
}

// Close closes the idle connections. Requests under way go on.
func (u *Upstream) Close() {
	if u.links != nil {
		u.links.close()
	}
	(&http.Client{Transport: u.client.transport}).CloseIdleConnections()
}

// at returns the URL of an escaped path below the prefix. What reaches the wire
// is that path, byte for byte.
func (u *Upstream) at(escapedPath string) *url.URL {
	raw := u.prefix + escapedPath
	path, err := url.PathUnescape(raw)
	out := &url.URL{Scheme: u.scheme, Host: u.host, Path: path, RawPath: raw}
	if err == nil && out.EscapedPath() == raw {
		return out
	}
	// The path holds bytes that net/url would escape. An opaque URL goes out as
	// it is, unless it starts with two slashes: then in absolute form.
	if strings.HasPrefix(raw, "//") {
		raw = "//" + u.host + raw
	}
	return &url.URL{Scheme: u.scheme, Host: u.host, Opaque: raw}
}

// observed reports every round trip.
type observed struct {
	next    http.RoundTripper
	observe func(string, int, time.Duration)
}

// RoundTrip implements http.RoundTripper.
func (o observed) RoundTrip(r *http.Request) (*http.Response, error) {
	if o.observe == nil {
		return o.next.RoundTrip(r)
	}
	start := time.Now()
	resp, err := o.next.RoundTrip(r)
	status := 0
	if err == nil {
		status = resp.StatusCode
	}
	o.observe(methodName(r.Method), status, time.Since(start))
	return resp, err
}

// methodName keeps what a client made up out of the names of metrics.
func methodName(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete,
		http.MethodOptions, http.MethodPatch, http.MethodTrace, http.MethodConnect:
		return m
	}
	return "other"
}
