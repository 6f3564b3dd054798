package proxy

import (
	"io"
	"net/http"
)

// serveHealth answers what the upstream says of its health, and adds what troubles the
// guard. That changes no status: a guard that is restarted, or that nobody is sent to any
// more, is no better off, and its page would be missing besides.
func (g *Guard) serveHealth(upstream http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		troubles := g.troubles()
		if len(troubles) == 0 {
			upstream.ServeHTTP(w, r)
			return
		}
		longer := &longerAnswer{ResponseWriter: w}
		upstream.ServeHTTP(longer, r)
		if longer.status != http.StatusOK {
			return
		}
		for _, line := range troubles {
			// A client that is gone needs no more of it.
			_, _ = io.WriteString(w, "\npushguard: "+line)
		}
		_, _ = io.WriteString(w, "\n")
	})
}

// troubles are what keeps the guard from what it is for.
func (g *Guard) troubles() (out []string) {
	switch g.pressure() {
	case Full:
		out = append(out, "the memory is full: pushes are answered 503 until there is room")
	case Tight:
		out = append(out, "the memory is nearly full: no new series are taken")
	case Roomy:
	}
	if g.cfg.Troubles != nil {
		out = append(out, g.cfg.Troubles()...)
	}
	return out
}

// longerAnswer is an answer that grows beyond what its length says.
type longerAnswer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (a *longerAnswer) WriteHeader(status int) {
	a.status = status
	a.Header().Del("Content-Length")
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (a *longerAnswer) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	return a.ResponseWriter.Write(p)
}
