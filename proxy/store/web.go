package store

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// Proxy serves what is only read, by the paths of a Pushgateway: its pages, its
// health and its API. It redirects nobody: an unknown path is 404, whatever it is
// like.
func (s *Store) Proxy() http.Handler {
	// The options are sound.
	compressed, _ := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed))
	page := compressed(http.HandlerFunc(s.servePage))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve := map[string]http.HandlerFunc{
			"/metrics": page, "/": s.serveGroups, "/status": s.serveGroups,
			"/-/healthy": s.serveHealth, "/-/ready": s.serveHealth,
			"/api/v1/metrics": s.serveListing, "/api/v1/status": s.serveStatus,
		}[r.URL.Path]
		isAPI := strings.HasPrefix(r.URL.Path, "/api/v1/")
		if isAPI {
			crossOrigin(w.Header())
		}
		allow := "GET, OPTIONS"
		if serve == nil && isGroupPath(r.URL.Path) {
			allow = "DELETE, OPTIONS, POST, PUT"
			serve = func(w http.ResponseWriter, _ *http.Request) { notAllowed(w, allow) }
		}
		if r.URL.Path == gateway.QuitPath {
			allow, serve = "GET, OPTIONS, POST, PUT", quitByGet
		}
		switch {
		case isAPI && r.Method == http.MethodOptions:
		case serve == nil:
			http.NotFound(w, r)
		case r.Method == http.MethodGet:
			serve(w, r)
		case r.Method == http.MethodOptions:
			w.Header().Set("Allow", allow)
		default:
			notAllowed(w, allow)
		}
	})
}

// isGroupPath reports whether a path is that of a group, for who only reads.
func isGroupPath(path string) bool {
	return strings.HasPrefix(path, "/metrics/job/") || strings.HasPrefix(path, "/metrics/job@base64/")
}

func notAllowed(w http.ResponseWriter, allow string) {
	w.Header().Set("Allow", allow)
	http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
}

// quitByGet tells those who tried a GET what ends a guard, in the words of a Pushgateway.
func quitByGet(w http.ResponseWriter, _ *http.Request) {
	w.WriteHeader(http.StatusMethodNotAllowed)
	_, _ = io.WriteString(w, gateway.OnlyByPush)
}

// crossOrigin lets pages of other origins read the API, as a Pushgateway does.
func crossOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Headers", "Accept, Authorization, Content-Type, Origin")
	h.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Date")
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate")
}

// serveHealth answers that all is well, which it is as long as pushes are taken: a
// disk that takes nothing is said, and stops nobody.
func (s *Store) serveHealth(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	text := "OK"
	if err := s.Err(); err != nil {
		text += "\nwhat is pushed is kept in memory alone: " + err.Error()
	}
	_, _ = w.Write([]byte(text))
}

// pageBuffer is how much of a page is written at once.
const pageBuffer = 64 << 10

func (s *Store) servePage(w http.ResponseWriter, r *http.Request) {
	format := gateway.PageFormat(r.Header)
	w.Header().Set("Content-Type", string(format))
	page := s.Pin()
	out := bufio.NewWriterSize(w, pageBuffer)
	for _, name := range page.Families() {
		if page.Write(r.Context(), out, name, format) != nil || r.Context().Err() != nil {
			panic(http.ErrAbortHandler) // half a page must not look like a whole one
		}
	}
	if out.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
}

// Write writes a family in the format of a page, until ctx ends.
func (p *Page) Write(ctx context.Context, w *bufio.Writer, name string, format expfmt.Format) error {
	switch format.FormatType() {
	case expfmt.TypeTextPlain:
		return p.writeText(ctx, w, name, format)
	case expfmt.TypeProtoDelim:
		return p.writeDelimited(ctx, w, name, format.ToEscapingScheme())
	default:
		return p.writeWhole(ctx, w, name, func(w io.Writer) expfmt.Encoder { return expfmt.NewEncoder(w, format) })
	}
}
