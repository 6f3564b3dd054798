package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// reloadPath is the guard's own: a Pushgateway has no such endpoint.
const reloadPath = "/-/reload"

// Handler serves the Pushgateway's protocol and, unless AdminApart is set, what
// AdminHandler does. Whatever may change something upstream goes through Push or
// is a listed endpoint; everything else goes to the upstream as it came.
func (g *Guard) Handler() http.Handler {
	// Paths are taken as they come: a router that cleans them redirects, and
	// clients lose pushes on redirects.
	r, upstream := mux.NewRouter().SkipClean(true), g.cfg.Upstream.Proxy()
	if g.cfg.AdminApart {
		for _, path := range []string{reloadPath, gateway.QuitPath, gateway.WipePath} {
			r.Path(path).Handler(http.NotFoundHandler())
		}
	} else {
		g.routeAdmin(r)
	}
	r.PathPrefix("/guard/").Handler(http.NotFoundHandler())
	r.Path("/-/ready").Methods(http.MethodGet).Handler(outlasting(g.permit(noRight, g.serveReady(g.serveHealth(upstream)))))
	r.Path("/-/healthy").Methods(http.MethodGet).Handler(outlasting(g.permit(noRight, g.serveHealth(upstream))))
	r.Path("/metrics").Methods(http.MethodGet).Handler(outlasting(g.permit(readRight, g.bound(g.page(upstream)))))
	r.MatcherFunc(writes).HandlerFunc(g.write)
	if g.own != nil { // else the upstream holds what its pages are made of
		upstream = g.bound(upstream)
	}
	others := outlasting(g.permit(readRight, upstream))
	r.PathPrefix("/").Handler(others)
	r.NotFoundHandler = others // the prefix itself, without a slash
	if g.own != nil && g.cfg.RoutePrefix != "" {
		r.NotFoundHandler = outlasting(g.permit(readRight, toSlash(g.cfg.RoutePrefix)))
	}
	h := below(g.cfg.RoutePrefix, g.pushesFirst(r))
	if g.cfg.RoutePrefix != "" && !g.cfg.AdminApart {
		h = besideQuit(h)
	}
	return chunksLast(h)
}

// pushesFirst has what is for a group not ask the routes of everything else, which takes
// as long as half a small push.
func (g *Guard) pushesFirst(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWrite(r.Method) && strings.HasPrefix(r.URL.Path, "/metrics/") {
			g.write(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// lastAnswer is for how long a read goes on whose client seems to be gone.
const lastAnswer = 10 * time.Second

// outlasting has a read go on for a while after its client has closed: one that has closed
// only its half of the connection waits for the answer, and nobody can tell the two apart.
func outlasting(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := lingering(r.Context(), lastAnswer)
		defer cancel()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// chunksLast has a request in chunks be the last of its connection: net/http does not tell
// whether it had a length, too, and what stands behind one that did may not be read as a
// request (RFC 9112, section 6.3).
func chunksLast(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// AdminHandler serves what concerns those who run the guard rather than its
// clients: its own pages below /guard/, the reload of the policy, and the
// listed endpoints; nothing else.
func (g *Guard) AdminHandler() http.Handler {
	r := mux.NewRouter().SkipClean(true)
	g.routeAdmin(r)
	return chunksLast(below(g.cfg.RoutePrefix, r))
}

func (g *Guard) routeAdmin(r *mux.Router) {
	reads := r.Methods(http.MethodGet, http.MethodHead).Subrouter()
	read := func(do http.HandlerFunc) http.Handler { return g.permit(readRight, g.boundAnswers(do)) }
	reads.Path("/guard/metrics").Handler(read(g.cfg.Metrics.Handler().ServeHTTP))
	reads.Path(apiPath + "/jobs").Handler(read(g.serveJobs))
	reads.PathPrefix(apiPath + "/jobs/").Handler(read(g.serveJob))
	reads.Path(apiPath + "/policy").Handler(read(g.servePolicy))
	reads.Path(apiPath + "/audit").Handler(read(g.serveAudit))
	reads.Path(apiPath + "/labels").Handler(read(g.serveLabels))
	reads.PathPrefix(apiPath + "/labels/").Handler(read(g.serveLabel))
	r.Path(apiPath + "/explain").Handler(read(g.serveExplain))
	if pages := g.cfg.Pages; pages != nil {
		reads.Path("/guard").Handler(read(toPages))
		reads.Path("/guard/live").Handler(g.permit(readRight, pages)) // bounds its streams itself
		reads.PathPrefix("/guard/").Handler(read(pages.ServeHTTP))
		r.Path("/guard/explain").Methods(http.MethodPost).Handler(read(pages.ServeHTTP))
	}
	// A browser sends the credentials it knows with whatever a page of another site asks for.
	own := http.NewCrossOriginProtection()
	admin := func(do http.HandlerFunc) http.Handler { return g.permit(adminRight, own.Handler(do)) }
	r.Path(reloadPath).Handler(admin(g.reload))
	r.Path(gateway.QuitPath).Methods(http.MethodPut, http.MethodPost).Handler(admin(g.quit))
	r.Path(gateway.WipePath).Methods(http.MethodPut).Handler(admin(g.wipe))
}

// toPages leads a browser to the pages, wherever they are seen from.
func toPages(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "guard/")
	w.WriteHeader(http.StatusFound)
}

// toSlash leads who asks for the route prefix to the page below it, as a Pushgateway does,
// wherever it is seen from.
func toSlash(prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Location", prefix[strings.LastIndexByte(prefix, '/')+1:]+"/")
		w.WriteHeader(http.StatusMovedPermanently)
	})
}

// besideQuit answers /-/quit, which a Pushgateway has beside its route prefix.
func besideQuit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == gateway.QuitPath {
			_ = respond(w, misplacedQuit(r.Method))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// below serves next under a route prefix: next sees paths without it.
func below(prefix string, next http.Handler) http.Handler {
	if prefix == "" {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.Path, prefix)
		raw, okRaw := strings.CutPrefix(r.URL.RawPath, prefix)
		if !ok || path != "" && path[0] != '/' || r.URL.RawPath != "" && !okRaw {
			http.NotFound(w, r)
			return
		}
		inner := *r
		inner.URL = &url.URL{}
		*inner.URL = *r.URL
		inner.URL.Path, inner.URL.RawPath = path, raw
		next.ServeHTTP(w, &inner)
	})
}

// misplacedQuit answers /-/quit without the prefix as a Pushgateway does.
func misplacedQuit(method string) Answer {
	switch method {
	case http.MethodGet:
		return Answer{Status: http.StatusMethodNotAllowed, Body: []byte(gateway.OnlyByPush)}
	default:
		a := textAnswer(http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed))
		a.Header.Set("Allow", "GET, OPTIONS")
		return a
	}
}

var writeMethods = []string{http.MethodPut, http.MethodPost, http.MethodDelete}

// writes matches the methods by which anything can be changed, in whatever case
// some server might take them.
func writes(r *http.Request, _ *mux.RouteMatch) bool {
	return isWrite(strings.ToUpper(r.Method))
}

func isWrite(method string) bool { return slices.Contains(writeMethods, method) }

// write takes a push or a delete.
func (g *Guard) write(w http.ResponseWriter, r *http.Request) {
	if allow := g.allowed(r); allow != "" {
		w.Header().Set("Allow", allow)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	// What was sent whole is carried out though its client goes, as a Pushgateway does, and
	// every wait for it is bounded: one that has closed only its half reads the answer.
	said := 0
	g.take(context.WithoutCancel(r.Context()), Request{
		Method: r.Method,
		Path:   r.URL.EscapedPath(),
		Header: r.Header,
		Body:   r.Body,
		Length: r.ContentLength,
		Client: g.client(r),
		Peer:   r.RemoteAddr,
		Until:  r.Context(),
	}, func(a Answer) bool {
		said = a.Status
		return replied(w, r, a)
	})
	if said >= http.StatusBadRequest {
		hearOut(w, r, 2*g.cfg.Caps.Body)
	}
}

// hearOut takes what is left of a push that was answered before all of it had come, if that
// is not more than most: many clients, and proxies, read no answer before they have sent
// everything, and find a connection that is reset where the answer was. One that asked
// whether to send it does not.
func hearOut(w http.ResponseWriter, r *http.Request, most int64) {
	if r.ContentLength == 0 || r.ContentLength > most || r.ProtoMajor > 1 || r.Header.Get("Expect") != "" {
		return
	}
	if err := http.NewResponseController(w).Flush(); err == nil {
		_, _ = io.CopyN(io.Discard, r.Body, most)
	}
}

// replied answers and reports whether the client can have got it: not one that had
// gone before, nor one that could not be written to. What became of an answer
// that was written nobody here can know: a client that has read it may close the
// connection at once. By HTTP/2 it may reset the request, which net/http tells as it
// tells an answer that was not written.
func replied(w http.ResponseWriter, r *http.Request, a Answer) bool {
	there := r.Context().Err() == nil
	if a.counted || len(a.Body) > 0 { // else net/http has it, and needs no header for that
		w.Header()["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	if err := respond(w, a); err != nil {
		return false
	}
	if !a.counted || r.ProtoMajor > 1 {
		return there
	}
	err := http.NewResponseController(w).Flush()
	return there && (err == nil || errors.Is(err, http.ErrNotSupported))
}

// allowed names the methods of a Pushgateway's route that does not have the
// request's, and nothing where Push is to decide.
func (g *Guard) allowed(r *http.Request) string {
	path := r.URL.Path
	switch {
	case strings.HasPrefix(path, "/metrics/job"):
		if !slices.Contains(writeMethods, r.Method) {
			return "DELETE, OPTIONS, POST, PUT"
		}
		return ""
	case path == gateway.QuitPath:
		return "OPTIONS, POST, PUT"
	case path == gateway.WipePath && g.cfg.EnableAdminAPI:
		return "OPTIONS, PUT"
	case slices.Contains([]string{"/", "/status", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/api/v1/metrics"}, path),
		strings.HasPrefix(path, "/static/"), strings.HasPrefix(path, "/debug/pprof/"):
		return "GET, OPTIONS"
	default:
		return ""
	}
}

// quit hands on the request to stop the Pushgateway, if that is enabled.
func (g *Guard) quit(w http.ResponseWriter, r *http.Request) {
	if !g.cfg.EnableLifecycle {
		_ = respond(w, lifecycleDisabled())
		return
	}
	g.forwardListed(w, r, gateway.QuitPath)
}

func lifecycleDisabled() Answer {
	return Answer{Status: http.StatusForbidden, Body: []byte("Lifecycle API is not enabled.")}
}

// wipe hands on the request to delete every group, if that is enabled.
func (g *Guard) wipe(w http.ResponseWriter, r *http.Request) {
	if !g.cfg.EnableAdminAPI {
		http.NotFound(w, r)
		return
	}
	if !g.forwardListed(w, r, gateway.WipePath) {
		g.doubtAfter(resyncEvery) // it may have come to something, as with one of several
		return
	}
	g.book.Wipe()
	g.shadow.Wipe()
	g.cfg.Totals.Expire(func(string) time.Duration { return time.Nanosecond })
}

// forwardListed reports whether the upstream took the request.
func (g *Guard) forwardListed(w http.ResponseWriter, r *http.Request, path string) bool {
	a, err := g.cfg.Upstream.Forward(r.Context(), path, gateway.Request{Method: r.Method, Header: r.Header, RemoteAddr: r.RemoteAddr})
	if err != nil {
		_ = respond(w, textAnswer(http.StatusBadGateway, "pushguard: "+err.Error()))
		return false
	}
	g.logger.Info("A listed endpoint was used", "path", path, "client", g.client(r), "status", a.Status)
	_ = respond(w, passOn(a))
	return a.Status >= 200 && a.Status < 300
}

// respond writes an answer. The error is for those who must know whether the
// client got it: its push has been decided all the same.
func respond(w http.ResponseWriter, a Answer) error {
	if len(a.Header) > 0 && !isDate(a.Header, time.Now()) {
		header := w.Header()
		for name, values := range a.Header {
			header[name] = values
		}
	}
	w.WriteHeader(a.Status)
	_, err := w.Write(a.Body)
	return err
}

// isDate reports whether a header is nothing but the date, which net/http says by itself:
// most answers of a Pushgateway have no other.
func isDate(h http.Header, now time.Time) bool {
	said := h["Date"]
	return len(h) == 1 && len(said) == 1 && said[0] == dateOf(now)
}

// dated is the Date of a second.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

// dateOf is a time as the field Date has it.
func dateOf(now time.Time) string {
	second := now.Unix()
	if d := lastDate.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &dated{second, now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}
