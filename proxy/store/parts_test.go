package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ofMany is a store with a small family, one of which the metrics are made in parts, and
// one which is too large to be kept, in groups of many metrics and of one.
func ofMany(t *testing.T) *Store {
	t.Helper()
	s := opened(t, Config{})
	for group, n := range []int{3 * partOf, 1, 1, partOf, 1} {
		var body strings.Builder
		body.WriteString("# TYPE few histogram\nfew_bucket{le=\"1\"} 1\nfew_bucket{le=\"+Inf\"} 2\nfew_sum 3\nfew_count 2\n# HELP large Of much.\n# TYPE large counter\n")
		for i := range n {
			fmt.Fprintf(&body, "large{n=\"%d\",text=%q} 1\n", i, strings.Repeat("x", 300))
		}
		body.WriteString("# HELP many # Of\\n# many.\n# TYPE many gauge\n")
		for i := range n {
			fmt.Fprintf(&body, "many{n=\"%d\",\"a.b\"=\"#\"} %d\n", i, i)
		}
		if status, answer := push(t, s, http.MethodPut, key("group", fmt.Sprint(group)), body.String()); status != http.StatusOK {
			t.Fatal(status, answer)
		}
	}
	return s
}

// TestPartsAreWhole holds what is written in parts to what expfmt makes of the whole family.
func TestPartsAreWhole(t *testing.T) {
	page := ofMany(t).Pin()
	for _, format := range []expfmt.Format{
		expfmt.NewFormat(expfmt.TypeProtoDelim),
		expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(model.NoEscaping),
		expfmt.NewFormat(expfmt.TypeTextPlain).WithEscapingScheme(model.DotsEscaping),
		expfmt.NewFormat(expfmt.TypeOpenMetrics),
	} {
		encoder := func(w io.Writer) expfmt.Encoder { return expfmt.NewEncoder(w, format) }
		for _, name := range page.Families() {
			if name != "many" && format.FormatType() == expfmt.TypeTextPlain {
				continue // it is not written by way of messages
			}
			var got, want bytes.Buffer
			out := bufio.NewWriter(&got)
			write := func() error { return page.Write(t.Context(), out, name, format) }
			if format.FormatType() == expfmt.TypeOpenMetrics {
				write = func() error { return page.WriteLines(t.Context(), out, name, encoder) }
			}
			if err := errors.Join(write(), out.Flush(), encoder(&want).Encode(page.Message(name))); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want.Bytes()) {
				t.Errorf("%s as %s: %d bytes, want %d", name, format, got.Len(), want.Len())
			}
		}
	}
}

// TestPartsAreSmall has no more of a family made at a time than a part, or what one group
// has of it, and nothing more once nobody wants it.
func TestPartsAreSmall(t *testing.T) {
	page := ofMany(t).Pin()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	largest, all := 0, 0
	count := func(part *dto.MetricFamily) error {
		largest, all = max(largest, len(part.Metric)), all+len(part.Metric)
		return nil
	}
	if err := page.parts(ctx, "many", count, func() error { return nil }); err != nil || largest > 3*partOf+3 || all != 4*partOf+3 {
		t.Errorf("%v; %d metrics at a time, of %d in all", err, largest, all)
	}
	all = 0
	if err := page.parts(ctx, "many", count, func() error { cancel(); return nil }); !errors.Is(err, context.Canceled) || all == 4*partOf+3 {
		t.Errorf("%v; %d metrics were made", err, all)
	}
}
