package proxy

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"
)

// explainTime bounds how long an explanation may take, the body of its push and the
// wait for another one included.
const explainTime = 30 * time.Second

// serveExplain answers /explain: what would become of the push that is the request's
// body, with its Content-Type and Content-Encoding, were it sent by method to path. One
// explanation is made at a time, so that they take no more memory than a push.
func (g *Guard) serveExplain(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		apiFault(w, http.StatusMethodNotAllowed, "want POST with the push as its body")
		return
	}
	request, err := explainedRequest(r, g.cfg.RoutePrefix)
	if err != nil {
		apiFault(w, http.StatusBadRequest, err.Error())
		return
	}
	request.Client = g.client(r)
	ctx, cancel := context.WithTimeout(r.Context(), explainTime)
	defer cancel()
	// One that cannot be told to stop reading has a time limit of its own.
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(explainTime))
	select {
	case g.explaining <- struct{}{}:
		defer func() { <-g.explaining }()
	case <-ctx.Done():
		w.Header().Set("Retry-After", "1")
		apiFault(w, http.StatusServiceUnavailable, "others ask for explanations, and one is made at a time")
		return
	}
	// Nor does one that does not read its answer keep others from theirs.
	_ = conn.SetWriteDeadline(time.Now().Add(explainTime))
	defer func() { _ = conn.SetWriteDeadline(time.Time{}) }()
	t, err := g.Explain(ctx, request, r.URL.Query().Get("as"))
	if err != nil {
		w.Header().Set("Retry-After", "1")
		apiFault(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	g.cfg.Metrics.explained.Inc()
	if wantsText(r) && g.cfg.Story != nil {
		_ = respond(w, Answer{Status: http.StatusOK, Header: textHeader(), Body: []byte(g.cfg.Story(t))})
		return
	}
	writeJSON(w, http.StatusOK, apiAnswer{Status: "success", Data: t})
}

var (
	errExplainMethod = errors.New("method: want PUT, POST or DELETE, that of the push")
	errExplainPath   = errors.New("path: want that of the push, such as /metrics/job/nightly")
	errExplainOutput = errors.New("output: want json or text")
)

// explainedRequest is the push that a request asks about. Its headers are the
// request's, of which those that say who asks have been taken off.
func explainedRequest(r *http.Request, prefix string) (Request, error) {
	q := r.URL.Query()
	out := Request{
		Method: strings.ToUpper(q.Get("method")), Path: q.Get("path"), Header: r.Header.Clone(),
		Body: r.Body, Length: r.ContentLength, Peer: r.RemoteAddr,
	}
	out.Header.Del("Authorization")
	out.Header.Del("Accept") // that of the explanation
	switch {
	case out.Method == "":
		out.Method = http.MethodPut
	case !isWrite(out.Method):
		return Request{}, errExplainMethod
	}
	if below, ok := strings.CutPrefix(out.Path, prefix+"/metrics/"); ok {
		out.Path = "/metrics/" + below
	}
	if !strings.HasPrefix(out.Path, "/metrics/") {
		return Request{}, errExplainPath
	}
	if o := q.Get("output"); o != "" && o != "json" && o != "text" {
		return Request{}, errExplainOutput
	}
	return out, nil
}

// wantsText reports whether an explanation is to be told rather than listed.
func wantsText(r *http.Request) bool {
	if output := r.URL.Query().Get("output"); output != "" {
		return output == "text"
	}
	first, _, _ := strings.Cut(r.Header.Get("Accept"), ",")
	t, _, err := mime.ParseMediaType(first)
	return err == nil && t == "text/plain"
}
