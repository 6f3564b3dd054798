package store

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/wire"
)

// TestPieces reads texts cut wherever they can be, and says which are read whole.
func TestPieces(t *testing.T) {
	histogram := "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n"
	for _, tc := range []struct {
		name, body string
		pieces     bool
	}{
		{"families with types", "# HELP b Of \\\\ b.\n# TYPE b gauge\nb 1\n# TYPE a gauge\na{x=\"1\"} 2\na{x=\"2\"} 3\n", true},
		{"of all types", histogram + "# TYPE s summary\ns{quantile=\"0.5\"} 4\ns_sum 9\ns_count 3\n# TYPE c counter\nc 1\n", true},
		{"comments", "# of nobody\n\na 1\n# of nobody\nb 2\n\n", true},
		{"a declaration at the end", "a 1\n# TYPE b gauge\n", true},
		{"no place to cut", "a 1\nb 2\n", false},
		{"one family", "# TYPE a gauge\na 1\n", false},
		{"a family that goes on", "# TYPE a gauge\na{x=\"1\"} 1\n# TYPE b gauge\nb 1\na{x=\"2\"} 1\n", false},
		{"help that comes late", "a 1\n# HELP a Late.\nb 1\n", false},
		{"samples far from their type", "# TYPE h histogram\n# TYPE a gauge\na 1\n# of nobody\nh_sum 1\nh_count 1\n", false},
		{"a histogram in two", "# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\n# of nobody\nh_sum 3.5\nh_count 2\n", false},
		{"a part with a family of its own", "h_count{x=\"1\"} 1\n# TYPE h histogram\nh_count{x=\"2\"} 2\n", false},
		{"half a count", "# TYPE a gauge\na 1\n" + strings.ReplaceAll(histogram, "_count 2", "_count 2.5"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p wire.Push
			if err := p.Parse([]byte(tc.body), wire.Text, key(), wire.Options{}); err != nil || p.Encoding != wire.Text {
				t.Fatal("the body is not plain", err)
			}
			b := newBuilderOf(key())
			b.piece = 1
			got, ok := b.fromPieces(&p, 7)
			if ok != tc.pieces {
				t.Fatalf("by pieces: %v, want %v", ok, tc.pieces)
			}
			if !ok {
				return
			}
			parsed, err := parse([]byte(tc.body), wire.Text)
			if err != nil {
				t.Fatal(err)
			}
			wanted(t, key(), tc.body, parsed, got)
		})
	}
}

// TestLargeTexts has texts at, under and over the size from which on they are read by
// pieces read alike, and the tables of a large one be small.
func TestLargeTexts(t *testing.T) {
	var body strings.Builder
	for i := range 200 {
		fmt.Fprintf(&body, "# TYPE step_%d_rows gauge\nstep_%d_rows{table=\"a\"} %d\nstep_%d_rows{table=\"b\"} 2\n", 200-i, 200-i, i, 200-i)
	}
	r, err := request(http.MethodPut, key(), body.String())
	if err != nil {
		t.Fatal(err)
	}
	const piece = 1 << 10
	var want string
	for _, large := range []int{body.Len() + 1, body.Len(), body.Len() - 1} {
		b := newBuilder()
		b.large, b.piece = large, piece
		families, err := b.families(r, 7)
		if err != nil {
			t.Fatal(err)
		}
		var text []byte
		for _, f := range families {
			text = f.appendText(f.shape.appendHead(text, f.shape.help), "")
			if f.shape.rows != families[0].shape.rows {
				t.Error("rows that are the same are there twice")
			}
		}
		if want == "" {
			want = string(text)
		} else if string(text) != want {
			t.Errorf("of %d bytes from %d on: %s", body.Len(), large, text)
		}
		if pieces, most := large <= body.Len(), piece/len("step_1_rows{table=\"a\"} 1\n"); pieces != (cap(b.tables.metrics) < 2*most) {
			t.Errorf("%d bytes, by pieces from %d on: tables of %d metrics", body.Len(), large, cap(b.tables.metrics))
		}
	}
}

// TestWithRoom has a map that is to take many keep what it has.
func TestWithRoom(t *testing.T) {
	m := map[int]int{}
	for i := range 10 {
		m[i] = i
	}
	for _, more := range []int{-1, 0, 1<<10 - 1, 1 << 10, 1<<10 + 1} {
		grown := withRoom(m, more)
		if len(grown) != 10 || grown[9] != 9 {
			t.Fatalf("with room for %d: %v", more, grown)
		}
		grown[10] = 1
		if same := len(m) == 11; same != (more < 1<<10) {
			t.Errorf("with room for %d: the same map: %v", more, same)
		}
		delete(m, 10)
	}
}
