package wire

import (
	"bytes"
	"hash/maphash"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
)

// shapeOf is the shape of a body, nil if it has none.
func shapeOf(body []byte) *Shape {
	var p Push
	if p.Parse(bytes.Clone(body), Text, someKey, Options{}) != nil || !p.Shapeable() {
		return nil
	}
	return NewShape(&p)
}

// tablesOf are what two pushes are compared by.
func tablesOf(p *Push) any {
	samples, written := append([]Sample(nil), p.Samples()...), []string(nil)
	for i := range samples {
		written = append(written, string(p.ValueText(i)))
		samples[i].width = 0 // only tells what stands there sooner
		if math.IsNaN(samples[i].Value) {
			samples[i].Value = -0.5 // NaN is NaN
		}
	}
	return []any{string(p.Body), p.Encoding, p.Families, p.Metrics(), samples, p.Expanded, p.emptyValues, append([]part(nil), p.parts...), len(p.timestamps), written}
}

const shaped = `# HELP rows Rows, of a table.
# TYPE rows gauge
rows{table="a"} 5
rows{table="b",x=""} -1.5e3
# HELP h H.
# TYPE h histogram
h_bucket{le="1",t="a"} 2
h_bucket{t="a",le="+Inf"} 7
h_sum{t="a"} 4.5
h_count{t="a"} 7
# TYPE q summary
q{quantile="0.5"} 1
q_sum 2
q_count 3
untyped 1
`

func TestShape(t *testing.T) {
	t.Parallel()
	s := shapeOf([]byte(shaped))
	for name, tc := range map[string]struct {
		change func(string) string
		fits   bool
	}{
		"the same":                     {func(b string) string { return b }, true},
		"other values":                 {strings.NewReplacer("} 5\n", "} 123456789.25\n", " -1.5e3\n", " NaN\n", " 4.5\n", " -Inf\n").Replace, true},
		"a longer count":               {strings.NewReplacer("} 7\n", "} 700000\n").Replace, true},
		"a count below 0":              {strings.NewReplacer("h_count{t=\"a\"} 7\n", "h_count{t=\"a\"} -7\n").Replace, false},
		"a count of a summary in part": {strings.NewReplacer("q_count 3\n", "q_count 3.5\n").Replace, false},
		"no value":                     {strings.NewReplacer("untyped 1\n", "untyped \n").Replace, false},
		"a value that is none":         {strings.NewReplacer("untyped 1\n", "untyped 0x1p3\n").Replace, false},
		"a timestamp":                  {strings.NewReplacer("untyped 1\n", "untyped 1 1700000000000\n").Replace, false},
		"another blank":                {strings.NewReplacer("untyped 1\n", "untyped  1\n").Replace, false},
		"another label":                {strings.NewReplacer(`"b"`, `"c"`).Replace, false},
		"another help":                 {strings.NewReplacer("Rows,", "Rows;").Replace, false},
		"a line more":                  {func(b string) string { return b + "untyped2 1\n" }, false},
		"a line less":                  {func(b string) string { return strings.TrimSuffix(b, "untyped 1\n") }, false},
		"cut off":                      {func(b string) string { return b[:len(b)-1] }, false},
		"nothing":                      {func(string) string { return "" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			holdShape(t, s, []byte(tc.change(shaped)), &tc.fits)
		})
	}
}

// holdShape holds what a shape makes of a body to what parsing makes of it.
func holdShape(t *testing.T, s *Shape, body []byte, fits *bool) {
	t.Helper()
	key := someKey
	var got, want Push
	ok, err := s.Parse(&got, body, key, Options{})
	if fits != nil && ok != *fits {
		t.Fatalf("fits: %v", ok)
	}
	if !ok {
		return
	}
	wantErr := want.Parse(body, Text, key, Options{})
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%v, parsed %v", err, wantErr)
	}
	if err != nil {
		return
	}
	if diff := cmp.Diff(tablesOf(&want), tablesOf(&got), cmp.AllowUnexported(Family{}, Metric{}, Sample{})); diff != "" {
		t.Errorf("%q (-parsed +shaped):\n%s", body, diff)
	}
	seed := maphash.MakeSeed()
	var first Push
	if err := first.Parse(s.body, Text, key, Options{}); err != nil || first.SkeletonHash(seed) != want.SkeletonHash(seed) {
		t.Errorf("the hashes of their skeletons differ: %v", err)
	}
}

// TestShapeOfAnotherGroup: what a key forbids is forbidden by a shape, too.
func TestShapeOfAnotherGroup(t *testing.T) {
	t.Parallel()
	s := shapeOf([]byte(shaped))
	var p Push
	if ok, err := s.Parse(&p, []byte(shaped), someKey.With(labels.Label{Name: "le", Value: "5"}), Options{}); !ok || err == nil {
		t.Errorf("%v, %v", ok, err)
	}
}

func FuzzShape(f *testing.F) {
	f.Add([]byte(shaped), []byte(strings.ReplaceAll(shaped, "7", "12345.5")))
	f.Add([]byte("a 1\n"), []byte("a 2\n"))
	f.Add([]byte("a{b=\"c\"}\t1\n# HELP a x\n"), []byte("a{b=\"c\"}\t+Inf\n# HELP a x\n"))
	f.Add([]byte("# HELP b x\na 1\n# HELP a x\nb 2\n"), []byte("# HELP b x\na 11\n# HELP a x\nb 22\n"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		s := shapeOf(first)
		if s == nil {
			return
		}
		same := true
		holdShape(t, s, first, &same)
		holdShape(t, s, second, nil)
	})
}
