package gateway

import (
	"net"
	"net/http"

	"github.com/prometheus/common/config"
)

// Client is how the guard makes itself known to an upstream: by which
// certificates, credentials and headers. It is safe for concurrent use.
type Client struct {
	transport http.RoundTripper
	// sets are the fields of a request, named as net/http does, that are the guard's alone
	// to say.
	sets []string
}

// Transport sends requests of that client, and sets what it has to say.
func (c *Client) Transport() http.RoundTripper { return c.transport }

// LoadClient reads a file with Prometheus' HTTP client configuration
// (prometheus/common's HTTPClientConfig): basic_auth, authorization, oauth2,
// tls_config, http_headers and a proxy. Unknown keys are errors, and relative
// paths are relative to the file. Certificates are read now; they and the files
// of secrets are read again as they change.
//
// follow_redirects and enable_http2 mean nothing here: a write is never
// redirected, and goes out by HTTP/1.1, whose failures tell what the upstream
// may have done.
func LoadClient(file string) (*Client, error) {
	cfg, _, err := config.LoadHTTPConfigFile(file)
	if err != nil {
		return nil, err
	}
	c := &Client{}
	if cfg.BasicAuth != nil || cfg.Authorization != nil || cfg.OAuth2 != nil {
		c.sets = append(c.sets, "Authorization")
	}
	if cfg.HTTPHeaders != nil {
		for name := range cfg.HTTPHeaders.Headers {
			c.sets = append(c.sets, http.CanonicalHeaderKey(name))
		}
	}
	c.transport, err = config.NewRoundTripperFromConfig(*cfg, "pushgateway",
		config.WithDialContextFunc((&net.Dialer{Timeout: dialTimeout}).DialContext),
		config.WithIdleConnTimeout(idleTimeout),
		config.WithHTTP2Disabled(),
	)
	if err != nil {
		return nil, err
	}
	return c, nil
}
