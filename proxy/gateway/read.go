package gateway

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
)

// Proxy returns the handler of everything that is only read. The request
// reaches the upstream as it came, its path and query byte for byte below the
// upstream's prefix, and the answer comes back as it is, redirects and errors
// included. A path is taken from the request's URL, so that
// http.StripPrefix may stand in front.
//
// PUT, POST and DELETE are answered by 405 and are not sent, whatever the path:
// a write goes through Do or Forward. If the upstream cannot be reached the
// answer is 502. A read has no time limit but its client's patience; if the
// upstream breaks off midway, the handler aborts the connection by the panic
// http.ErrAbortHandler, as net/http's proxies do.
func (u *Upstream) Proxy() http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite:   u.rewrite,
		Transport: u.reads,
		ErrorLog:  slog.NewLogLogger(u.logger.Handler(), slog.LevelWarn),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "upstream: "+err.Error(), http.StatusBadGateway)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodPut, http.MethodPost, http.MethodDelete:
			w.Header().Set("Allow", "GET, OPTIONS")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		default:
			proxy.ServeHTTP(w, r)
		}
	})
}

func (u *Upstream) rewrite(r *httputil.ProxyRequest) {
	raw := r.In.URL.RawPath // as received, wherever that differs from how net/url would write it
	if raw == "" {
		raw = r.In.URL.EscapedPath()
	}
	out := u.at(raw)
	out.RawQuery, out.ForceQuery = r.In.URL.RawQuery, r.In.URL.ForceQuery
	r.Out.URL, r.Out.Host = out, ""
	r.Out.Header = u.header(&Request{Header: r.In.Header, RemoteAddr: r.In.RemoteAddr})
}
