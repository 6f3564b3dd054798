package wire

import (
	"slices"
	"strings"
	"testing"
)

func TestCut(t *testing.T) {
	text := "# TYPE a gauge\na 1\n# HELP b B.\n# TYPE b gauge\nb{x=\"#\"} 1\n\n# TYPE c gauge\nc 1\nd 2\n# e"
	var places []int
	for _, comment := range []string{"# HELP b", "# TYPE c", "# e"} {
		places = append(places, strings.Index(text, comment))
	}
	for from := 0; from <= len(text)+1; from++ {
		want := len(text)
		for _, at := range slices.Backward(places) {
			if from <= at {
				want = at
			}
		}
		if got := Cut([]byte(text), from); got != want {
			t.Errorf("from %d: at %d %.9q, want %d", from, got, text[min(got, len(text)):], want)
		}
	}
	for _, text := range []string{"", "a 1", "a 1\n", "#", "\n\n"} {
		if got := Cut([]byte(text), 0); got != len(text) {
			t.Errorf("%q: at %d", text, got)
		}
	}
}

// TestContains has parts of a text say of their families what the whole says, or not.
func TestContains(t *testing.T) {
	parsed := func(text string) *Push {
		p := &Push{}
		if err := p.Parse([]byte(text), Text, NewKey(), Options{}); err != nil {
			t.Fatal(text, err)
		}
		return p
	}
	whole := parsed("# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n# TYPE b counter\nb 1\nc 1\n")
	for _, tc := range []struct {
		part string
		from int
		want bool
	}{
		{"# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n", 0, true},
		{"# TYPE b counter\nb 1\nc 1\n", 1, true},
		{"c 1\n", 2, true},
		{"", 3, true},
		{"c 1\n", 1, false},
		{"c 1\n", 3, false},
		{"b 1\n", 1, false}, // of another type
		{"# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2\n", 0, false},            // of other help
		{"# HELP a A.\n# TYPE a gauge\na{x=\"1\"} 1\n", 0, false},             // not all of it
		{"# TYPE b counter\nb 1\nc 1\nd 1\n", 1, false},                       // more
		{"# TYPE c summary\nc{quantile=\"0.5\"} 1\n", 2, false},               // of another type
		{"# TYPE b counter\nb 1 1700000000000\nc 1 1700000000000\n", 1, true}, // which says nothing of stamps
	} {
		if got := whole.Contains(parsed(tc.part), tc.from); got != tc.want {
			t.Errorf("%q from family %d on: %v", tc.part, tc.from, got)
		}
	}
}
