package statsd

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

var (
	goodName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	exporter = regexp.MustCompile(`^(go|process|promhttp|statsd_exporter|statsd_metric_mapper)_`)
)

// hostile are seeds: name, label, value.
var hostile = [][3]string{
	{"failure_count", "job", "nightly"},
	{"go_goroutines", "__name__", "x"},
	{"process:cpu:seconds:total", "a.b", "c,d"},
	{"x|c\ny:1", "le", "0.5"},
	{"1x", "quantile", "0.5"},
	{"x", "k:1|c|#__name__", "v|c\nprocess_cpu_seconds_total:1"},
	{"x[a=b]", "k=v", "]"},
	{"x,a=b", "k", "[a"},
	{"x#a=b", "ü", "\xff\xfe\x00"},
	{"größe", "#", "#"},
	{"a--b", "a--b", "a\r"},
	{"", "", ""},
	{"x", "job", "|#a:b|@0.1|T1|c:id"},
	{"x", "k", " \t "},
	{"x", "k", strings.Repeat("é", 150)},
	{strings.Repeat("x", 300), "k", "v"},
	{"x", strings.Repeat("k", 300), "v"},
	{"up", "k", "\u0085\u2028"},
}

func addSeeds(f *testing.F) {
	for i, h := range hostile {
		f.Add(uint8(i), uint8(i), h[0], h[1], h[2], "job", "nightly", 1.0, 2.5)
		f.Add(uint8(i+1), uint8(i+2), h[0], h[1], h[2], h[1]+"_", h[2], 1e-9, 0.1)
		f.Add(uint8(i+2), uint8(i+1), "x", h[1], h[2], "", "", math.MaxFloat64, math.Inf(1))
	}
}

// hostileIncrement is what a fuzzer makes of its bytes.
func hostileIncrement(kind uint8, name, k1, v1, k2, v2 string, a, b float64) counter.Increment {
	src := &counter.Series{Name: name, Kind: counter.Kind(kind % 4)}
	for _, l := range []labels.Label{{Name: k1, Value: v1}, {Name: k2, Value: v2}} {
		if l.Value != "" {
			src.Labels = append(src.Labels, l)
		}
	}
	slices.SortFunc(src.Labels, func(a, b labels.Label) int { return cmp.Compare(a.Name, b.Name) })
	inc := counter.Increment{Series: src, Value: a, Sum: a, Count: b}
	if src.Kind == counter.Histogram {
		src.Bounds, inc.Buckets = []float64{a, b}, []float64{0, b}
	}
	return inc
}

// FuzzLines holds what is sent to what the exporter's own parser reads in it:
// every line is one counter, under a name and labels that cannot hurt.
func FuzzLines(f *testing.F) {
	ask := lineParser(f)
	addSeeds(f)
	f.Fuzz(func(t *testing.T, style, kind uint8, name, k1, v1, k2, v2 string, a, b float64) {
		tags := TagStyle(style%uint8(NoTags)) + 1
		s := newSender(t, Config{Address: &url.URL{Scheme: "udp", Host: "127.0.0.1:1"}, Tags: tags})
		inc := hostileIncrement(kind, name, k1, v1, k2, v2, a, b)
		s.Add([]counter.Increment{inc})
		for _, sr := range s.series {
			for _, zero := range []bool{true, false} {
				p := packet{style: tags}
				if zero || !sr.empty() {
					p.put(sr, zero, 0)
					checkLines(t, &p, inc, zero, ask(t, p.buf))
				}
			}
		}
	})
}

type reading struct {
	Events []struct {
		Counter bool
		Name    string
		Value   float64
		Labels  map[string]string
	}
	Errors float64
}

func checkLines(t *testing.T, p *packet, inc counter.Increment, zero bool, r reading) {
	t.Helper()
	if r.Errors != 0 || len(r.Events) != len(p.parts) {
		t.Fatalf("%d lines are read as %d, %v errors:\n%q", len(p.parts), len(r.Events), r.Errors, p.buf)
	}
	for _, line := range strings.Split(string(p.buf), "\n") {
		if len(line) > maxLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
	for i, e := range r.Events {
		want := len(inc.Series.Labels)
		if p.style == NoTags {
			want = 0
		}
		if strings.HasSuffix(e.Name, "_bucket") && inc.Series.Kind == counter.Histogram {
			want++
		}
		switch {
		case !e.Counter:
			t.Fatalf("no counter: %q", p.buf)
		case !goodName.MatchString(e.Name) || exporter.MatchString(e.Name):
			t.Fatalf("name %q in %q", e.Name, p.buf)
		case len(e.Labels) != want:
			t.Fatalf("labels %q of %+v in %q", e.Labels, inc.Series, p.buf)
		case e.Value != p.parts[i].amount || (zero && e.Value != 0) || (!zero && e.Value <= 0):
			t.Fatalf("value %v for %v in %q", e.Value, p.parts[i].amount, p.buf)
		case inc.Series.Kind == counter.Counter && !zero && e.Value != inc.Value:
			t.Fatalf("value %v for %v", e.Value, inc.Value)
		}
		for k, v := range e.Labels {
			if !goodName.MatchString(k) || strings.HasPrefix(k, "__") {
				t.Fatalf("label %q in %q", k, p.buf)
			}
			if v == "" || len(v) > maxValue || !utf8.ValidString(v) || strings.ContainsFunc(v, unicode.IsControl) {
				t.Fatalf("value %q in %q", v, p.buf)
			}
		}
		for _, l := range inc.Series.Labels {
			if p.style != NoTags && regexp.MustCompile(`^[\w./ -]{1,200}$`).MatchString(l.Value) &&
				!slices.Contains(slices.Collect(maps.Values(e.Labels)), l.Value) {
				t.Fatalf("%q is not among %q", l.Value, e.Labels)
			}
		}
	}
}

// lineParser returns what asks the exporter's parser what it reads in lines.
func lineParser(t testing.TB) func(t testing.TB, lines []byte) reading {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lineparser")
	if _, err := statsdtest.Build("../..", "build", "-modfile=tools.mod", "-o", path, "./proxy/statsd/testdata/lineparser"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(err)
		}
		t.Skipf("cannot build the exporter's parser, which needs the Go module proxy once: %v", err)
	}
	cmd := exec.Command(path)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_, _ = io.Copy(io.Discard, pipe)
		_ = cmd.Wait()
	})
	out := json.NewDecoder(bufio.NewReader(pipe))
	return func(t testing.TB, lines []byte) reading {
		t.Helper()
		datagram := lines[:len(lines)-1]
		if _, err := in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(datagram))), datagram...)); err != nil {
			t.Fatal(err)
		}
		var r reading
		if err := out.Decode(&r); err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// FuzzExporter sends hostile series to a running exporter: its /metrics stays as
// it should be, it finds no fault in any line, and all that was taken is there.
func FuzzExporter(f *testing.F) {
	const life = 300 // inputs, or its /metrics grows for ever
	e := statsdtest.Start(f, "--statsd.event-flush-threshold=1")
	addSeeds(f)
	ctx := context.Background()
	var s *Sender
	left, sentinel := 0, 0.0
	end := newCounter("sentinel")
	f.Cleanup(func() {
		if s != nil {
			s.link.close()
		}
	})
	f.Fuzz(func(t *testing.T, style, kind uint8, name, k1, v1, k2, v2 string, a, b float64) {
		if left == 0 {
			if s != nil {
				s.link.close()
				e.Kill()
				e.Again(t)
			}
			s = newSender(t, Config{Address: e.Unixgram, Tags: TagStyle(style%uint8(NoTags)) + 1})
			left, sentinel = life, 0
		}
		left--
		s.Add([]counter.Increment{hostileIncrement(kind, name, k1, v1, k2, v2, a, b)})
		s.flush(ctx)
		sentinel++
		count(s, end, 1)
		s.flush(ctx)
		sent := metric(t, s, "lines_total")
		for deadline := time.Now().Add(patience); ; {
			families, err := e.Scrape()
			if err != nil {
				t.Fatal(err)
			}
			if families["sentinel"].GetMetric() != nil && families["sentinel"].GetMetric()[0].GetCounter().GetValue() == sentinel {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the exporter does not go on")
			}
		}
		if got := e.Own(t, "statsd_exporter_lines_total"); got != sent {
			t.Fatalf("%v lines sent, %v read", sent, got)
		}
		for _, n := range []string{"sample_errors", "tag_errors", "events_error", "events_conflict"} {
			if got := e.Own(t, fmt.Sprintf("statsd_exporter_%s_total", n)); got != 0 {
				t.Fatalf("%s: %v", n, got)
			}
		}
	})
}
