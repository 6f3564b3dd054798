package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy"
)

const (
	// maxForm is the longest form that is read, in bytes, and explainTime how long an
	// explanation may take, the wait for another one included.
	maxForm     = 1 << 20
	explainTime = 20 * time.Second
	// familiesShown is how many families of a push are told of.
	familiesShown = 100
)

// explainPage is the data of the page that explains a push.
type explainPage struct {
	Method, Path, Body, As string
	Trace                  *proxy.Trace
	Before, After          []comparedLine
	Families               []proxy.TraceFamily
	More                   int // families that are not shown
	Changes                []explainedChange
	Entry                  string // the link to its line
	Findings               []explainedFinding
	Over                   []explainedLimit
}

// explainedChange is a change with the link to the line behind it.
type explainedChange struct {
	proxy.TraceChange
	Place string
}

// comparedLine is a line of a body, and whether the other side has it too.
type comparedLine struct {
	Text   string
	Differ bool
}

// explainedFinding and explainedLimit are the same of what was noticed and of what is
// over a budget.
type (
	explainedFinding struct {
		proxy.TraceFinding
		Place string
	}
	explainedLimit struct {
		proxy.TraceOver
		Place string
	}
)

const explainExample = "# TYPE rows_loaded gauge\nrows_loaded{table=\"orders\",run_id=\"6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d\"} 8\n"

func (c *Console) explainForm(*http.Request) (any, error) {
	return &explainPage{Method: http.MethodPost, Path: "/metrics/job/nightly_load", Body: explainExample}, nil
}

// explain answers the form, which comes back with what was read of it. It changes nothing,
// but only the console's own page may ask: an explanation costs what a push costs.
func (c *Console) explain(r *http.Request) (any, error) {
	if err := http.NewCrossOriginProtection().Check(r); err != nil {
		return nil, &fault{http.StatusForbidden, "another site has sent this form, or a proxy in front does not hand on the Host that it was asked for"}
	}
	faulty := r.ParseForm()
	p := &explainPage{
		Method: r.PostForm.Get("method"), Path: strings.TrimSpace(r.PostForm.Get("path")), As: r.PostForm.Get("as"),
		// Browsers end lines with two characters, Prometheus' text with one.
		Body: strings.ReplaceAll(r.PostForm.Get("body"), "\r\n", "\n"),
	}
	if faulty != nil {
		return p, formFault(faulty)
	}
	request, err := p.request()
	if err != nil {
		return p, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), explainTime)
	defer cancel()
	select {
	case c.explaining <- struct{}{}:
		defer func() { <-c.explaining }()
	case <-ctx.Done():
		return p, &fault{http.StatusServiceUnavailable, "others ask for explanations, and one is made at a time: try again"}
	}
	if p.Trace, err = c.guard.Explain(ctx, request, p.As); err != nil {
		return p, &fault{http.StatusServiceUnavailable, err.Error()}
	}
	c.tell(p)
	return p, nil
}

func formFault(err error) error {
	if errors.As(err, new(*http.MaxBytesError)) {
		return &fault{http.StatusRequestEntityTooLarge, "the form is larger than 1 MiB; pushguard explain takes more"}
	}
	return &fault{http.StatusBadRequest, "this is no form"}
}

// request is the push that the form describes.
func (p *explainPage) request() (proxy.Request, error) {
	if p.Method != http.MethodPut && p.Method != http.MethodPost && p.Method != http.MethodDelete {
		return proxy.Request{}, &fault{http.StatusBadRequest, "method: want PUT, POST or DELETE"}
	}
	path := p.Path
	if strings.HasPrefix(path, "metrics/job") {
		path = "/" + path
	}
	if i := strings.Index(path, "/metrics/"); i > 0 {
		path = path[i:] // of a whole URL, or one with the route prefix
	}
	if i := strings.IndexAny(path, "?#"); i >= 0 {
		path = path[:i] // what stands behind them is no part of the path that a client sends
	}
	if !strings.HasPrefix(path, "/metrics/") {
		return proxy.Request{}, &fault{http.StatusBadRequest, "path: want that of a push, such as /metrics/job/nightly"}
	}
	p.Path = path
	return proxy.Request{
		Method: p.Method, Path: p.Path, Header: http.Header{}, Client: "console",
		Body: io.NopCloser(strings.NewReader(p.Body)), Length: int64(len(p.Body)),
	}, nil
}

// tell prepares what the trace says for the page.
func (c *Console) tell(p *explainPage) {
	t := p.Trace
	for _, change := range t.Changes {
		p.Changes = append(p.Changes, explainedChange{change, c.place(change.File, change.Line)})
	}
	if t.Entry != nil {
		p.Entry = c.place(t.Entry.File, t.Entry.Line)
	}
	p.Families = t.Families[:min(familiesShown, len(t.Families))]
	p.More = len(t.Families) - len(p.Families)
	for _, f := range t.Findings {
		p.Findings = append(p.Findings, explainedFinding{f, c.place(f.File, f.Line)})
	}
	if t.Budget != nil {
		for _, o := range t.Budget.Over {
			p.Over = append(p.Over, explainedLimit{o, c.place(o.File, o.Line)})
		}
	}
	after := ""
	if t.Forwarded != nil {
		after = t.Forwarded.Text
	}
	p.Before, p.After = compared(p.Body, after)
}

// compared marks the lines of each side that the other has not.
func compared(before, after string) (left, right []comparedLine) {
	split := func(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }
	mark := func(lines, other []string) []comparedLine {
		there := map[string]bool{}
		for _, line := range other {
			there[strings.TrimSpace(line)] = true
		}
		out := make([]comparedLine, 0, len(lines))
		for _, line := range lines {
			out = append(out, comparedLine{line, !there[strings.TrimSpace(line)]})
		}
		return out
	}
	return mark(split(before), split(after)), mark(split(after), split(before))
}
