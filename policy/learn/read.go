package learn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

const (
	chunk   = 1 << 20  // how much is read and parsed at a time
	maxLine = 16 << 20 // bytes of one line
)

// Read takes into account a page in Prometheus' text format, as /metrics of a
// Pushgateway has it, and may be called for one page after another. It holds a piece
// of the page at a time. The error names the first line that is none; what came before
// has been taken into account, also if ctx ends.
func (s *Summary) Read(ctx context.Context, page io.Reader) error {
	r := &reader{summary: s, line: 1}
	buf := make([]byte, 0, 2*chunk)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		if cap(buf)-len(buf) < chunk {
			buf = append(make([]byte, 0, 2*cap(buf)), buf...)
		}
		n, err := page.Read(buf[len(buf) : len(buf)+chunk])
		buf = buf[:len(buf)+n]
		if errors.Is(err, io.EOF) {
			return r.last(buf)
		}
		if err != nil {
			return err
		}
		whole := bytes.LastIndexByte(buf, '\n') + 1
		if err := r.lines(buf[:whole:whole]); err != nil { // the parser appends to what it is given
			return err
		}
		buf = buf[:copy(buf, buf[whole:])]
		if len(buf) > maxLine {
			return fmt.Errorf("line %d is longer than %d bytes", r.line, maxLine)
		}
	}
}

// reader is where in a page one is.
type reader struct {
	summary *Summary
	line    int
	family  string
	typ     model.MetricType
}

func (r *reader) last(rest []byte) error {
	if len(rest) > 0 && rest[len(rest)-1] != '\n' {
		rest = append(rest, '\n')
	}
	return r.lines(rest)
}

// lines reads whole lines. The parser's own words for a fault have the place in what
// it was given, which is not the page: they are left out.
func (r *reader) lines(b []byte) error {
	p := textparse.NewPromParser(b, labels.NewSymbolTable(), false)
	done, metric := 0, labels.EmptyLabels()
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			r.line += bytes.Count(b, []byte{'\n'})
			return nil
		}
		if err != nil {
			return fmt.Errorf("after line %d: not the text format of metrics", r.line-1+done)
		}
		switch entry {
		case textparse.EntryType:
			name, typ := p.Type()
			r.family, r.typ = string(name), typ
		case textparse.EntrySeries:
			_, _, v := p.Series()
			p.Labels(&metric)
			r.series(metric, v)
		}
		done++
	}
}

// series gives a sample the type of the family before it, if it is of that.
func (r *reader) series(metric labels.Labels, v float64) {
	name, typ := metric.Get(model.MetricNameLabel), model.MetricTypeUnknown
	switch {
	case name == r.family:
		typ = r.typ
	case r.typ == model.MetricTypeHistogram, r.typ == model.MetricTypeSummary:
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if name == r.family+suffix {
				typ = r.typ
			}
		}
	}
	r.summary.add(name, typ, metric, v)
}
