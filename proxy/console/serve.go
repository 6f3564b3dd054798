package console

import (
	"bytes"
	"embed"
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

//go:embed assets pages
var files embed.FS

// contentPolicy has a browser load the console's own files and nothing else, and run
// nothing that stands in a page.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// route names every page.
func (c *Console) route() {
	c.mux = http.NewServeMux()
	c.mux.HandleFunc("GET /guard/{$}", c.show("overview", c.overview))
	c.mux.HandleFunc("GET /guard/jobs", c.show("jobs", c.jobs))
	c.mux.HandleFunc("GET /guard/job", c.show("job", c.job))
	c.mux.HandleFunc("GET /guard/audit", c.show("audit", c.audit))
	c.mux.HandleFunc("GET /guard/audit/{time}", toRecord)
	c.mux.HandleFunc("GET /guard/record", c.show("record", c.record))
	c.mux.HandleFunc("GET /guard/explain", c.show("explain", c.explainForm))
	c.mux.HandleFunc("POST /guard/explain", bounded(c.show("explain", c.explain)))
	c.mux.HandleFunc("GET /guard/policy", c.show("policy", c.policy))
	c.mux.HandleFunc("GET /guard/live", c.live)
	c.mux.HandleFunc("GET /guard/assets/{name}", asset)
	c.mux.HandleFunc("/guard/", c.show("missing", func(*http.Request) (any, error) {
		return nil, &fault{http.StatusNotFound, "there is no such page"}
	}))
}

// ServeHTTP serves a path below /guard/.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", contentPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if name, ok := strings.CutPrefix(r.URL.Path, "/guard/jobs/"); ok {
		toJob(w, r, name)
		return
	}
	if clean := path.Clean(r.URL.Path); clean != strings.TrimSuffix(r.URL.Path, "/") {
		http.NotFound(w, r) // a ServeMux would redirect
		return
	}
	c.mux.ServeHTTP(w, r)
}

// bounded has next read no more of a form than maxForm.
func bounded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next(w, r)
	}
}

// toJob leads from the address that a job has as a path, as in the API, to its page.
func toJob(w http.ResponseWriter, r *http.Request, name string) {
	below := strings.Count(strings.TrimPrefix(r.URL.EscapedPath(), "/guard/jobs/"), "/")
	w.Header().Set("Location", strings.Repeat("../", below+1)+"job"+query("name", name))
	w.WriteHeader(http.StatusFound)
}

// toRecord leads from the address that a record has as an exemplar to its page.
func toRecord(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Location", "../record"+query("time", r.PathValue("time")))
	w.WriteHeader(http.StatusFound)
}

// asset serves a file that is in the binary. A browser asks each time, by its ETag,
// whether it has changed.
func asset(w http.ResponseWriter, r *http.Request) {
	data, err := files.ReadFile("assets/" + r.PathValue("name"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	kind := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	w.Header().Set("Content-Type", kind[path.Ext(r.PathValue("name"))])
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("ETag", `"`+strconv.FormatUint(sum(data), 36)+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
}

// fault is an error with the status it is answered with, and words for people.
type fault struct {
	status int
	text   string
}

func (f *fault) Error() string { return f.text }

// faultOf is how an error is answered.
func faultOf(err error) *fault {
	var f *fault
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, new(*proxy.QueryError)):
		return &fault{http.StatusBadRequest, err.Error()}
	case errors.Is(err, proxy.ErrNoAudit):
		return &fault{http.StatusNotFound, err.Error()}
	default:
		return &fault{http.StatusInternalServerError, "this cannot be read; the guard's log says why"}
	}
}

// page is what every page is made of.
type page struct {
	Title, Name string // the name is that of its template and in the navigation
	Version     string
	Behind      string
	Apart       bool
	Live        string // the query of its stream; empty is none
	Status      int
	Fault       string
	Data        any // with a fault: what is shown besides; nil is nothing
}

// live is implemented by data of pages that change by themselves.
type live interface{ stream() url.Values }

var titles = map[string]string{
	"overview": "Overview", "jobs": "Jobs", "job": "Job", "audit": "Audit", "record": "Record",
	"explain": "Explain", "policy": "Policy", "missing": "Not found",
}

// show serves a page whose data make makes. Of an error it tells at the top of the page,
// or where there is no data instead of it.
func (c *Console) show(name string, make func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := make(r)
		p := page{
			Title: titles[name], Name: name, Version: c.cfg.Version, Behind: c.cfg.Behind, Apart: c.cfg.Apart,
			Status: http.StatusOK, Data: data,
		}
		if err != nil {
			f := faultOf(err)
			p.Status, p.Fault = f.status, f.text
		} else if l, ok := data.(live); ok {
			if q := l.stream(); q != nil {
				p.Live = q.Encode()
			}
		}
		var b bytes.Buffer
		if err := c.templates.ExecuteTemplate(&b, "layout", p); err != nil {
			http.Error(w, "the page cannot be made: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(p.Status)
		_, _ = b.WriteTo(w) // a reader that is gone needs no more of it
	}
}

// fragment is one part of a page by its template.
func (c *Console) fragment(name string, data any) (string, error) {
	var b strings.Builder
	err := c.templates.ExecuteTemplate(&b, name, data)
	return b.String(), err
}
