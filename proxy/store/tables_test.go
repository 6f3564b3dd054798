package store

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// bodies are texts for which the tables have to say what expfmt says, or leave it to
// that.
var bodies = map[string]string{
	"gauges":                      "# HELP a Of \\n two \\\\ lines.\n# TYPE a gauge\na{b=\"1\"} 1\na{b=\"2\"} 2.5e7\na 0\n",
	"families in another order":   "# TYPE z counter\nz_total 1\nz 3\n# TYPE a gauge\na 1\nuntyped -0\n",
	"families that mix":           "a{n=\"1\"} 1\nb 2\na{n=\"2\"} 3\n",
	"labels in another order":     "a{z=\"1\",a=\"2\"} 1\na{z=\"2\",a=\"2\"} NaN\n",
	"one series twice":            "a{z=\"1\",b=\"2\"} 1\na{b=\"2\",z=\"1\"} 2\n",
	"what the group overwrites":   "a{job=\"own\",b=\"1\"} 1\na{b=\"2\",instance=\"i\"} 2\n",
	"one series for the group":    "a{job=\"x\"} 1\na{job=\"y\"} 2\n",
	"an empty label":              "a{b=\"\"} 1\na{b=\"1\",c=\"\"} +Inf\n",
	"escapes":                     "a{b=\"a \\\"quoted\\\" \\\\ and \\n line\"} 1e-9\n",
	"a histogram":                 "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3.5\nh_count 2\n",
	"no bucket for all":           "# TYPE h histogram\nh_bucket{x=\"1\",le=\"1.0\"} 1\nh_sum{x=\"1\"} 3\nh_count{x=\"1\"} 2000000\n",
	"a histogram of a count only": "# TYPE h histogram\nh_count 2\n",
	"half a count":                "# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_sum 3\nh_count 2.5\n",
	"histograms that mix":         "# TYPE h histogram\nh_bucket{x=\"1\",le=\"1\"} 1\nh_bucket{x=\"2\",le=\"1\"} 1\nh_count{x=\"2\"} 1\nh_count{x=\"1\"} 1\nh_sum{x=\"1\"} 1\nh_sum{x=\"2\"} 1\n",
	"a summary":                   "# TYPE s summary\ns{quantile=\"0.5\"} 4\ns{quantile=\"0.99\"} NaN\ns_sum 9\ns_count 3\n",
	"a summary without a count":   "# TYPE s summary\ns{quantile=\"0.5\"} 4\n",
	"a family without series":     "# TYPE a gauge\n# HELP b Nothing.\nc 1\n",
	"with a timestamp":            "a 1 1700000000000\n",
	"what a Pushgateway writes":   "push_time_seconds 1\na 1\n",
	"a name of any letters":       "{\"größe\",\"länge\"=\"1\"} 1\n",
	"nothing":                     "",
}

// same wants the tables of a text to make the families that expfmt does, or to leave it
// to that. It reports which.
func same(t *testing.T, key wire.Key, body string, fates []wire.Fate) (byTables bool) {
	t.Helper()
	var p wire.Push
	if p.Parse([]byte(body), wire.Text, key, wire.Options{UTF8Names: true}) != nil {
		return false
	}
	if fates != nil && len(fates) != len(p.Metrics()) {
		t.Fatalf("%d metrics, %d fates", len(p.Metrics()), len(fates))
	}
	b := newBuilder()
	b.key = key
	got, byTables := b.fromTables(&p, fates, 7)
	if !byTables {
		return false
	}
	if fates != nil {
		body = string(wire.Render(nil, &p, fates))
	}
	parsed, err := parse([]byte(body), wire.Text)
	if err != nil {
		t.Fatalf("%q: stored, though expfmt says %v", body, err)
	}
	wanted(t, key, body, parsed, got)
	if fates == nil {
		b.piece = 1
		if got, ok := b.fromPieces(&p, 7); ok {
			wanted(t, key, body, parsed, got)
		}
	}
	return true
}

// wanted wants the families that a Pushgateway makes of what it has parsed.
func wanted(t *testing.T, key wire.Key, body string, parsed []*dto.MetricFamily, got []*family) {
	t.Helper()
	if len(parsed) != len(got) {
		t.Fatalf("%q: %d families, want %d", body, len(got), len(parsed))
	}
	for i, mf := range parsed {
		want, err := newBuilderOf(key).build(mf, 7)
		if err != nil {
			t.Fatalf("%q: stored, though a Pushgateway says %v", body, err)
		}
		s, w := got[i].shape, want.shape
		if !s.equal(w) || s.plain != w.plain || got[i].values != want.values || got[i].whole != want.whole || got[i].pushed != want.pushed {
			t.Errorf("%q: family %d is %+v\n%s, want %+v\n%s", body, i, s, got[i].appendText(nil, ""), w, want.appendText(nil, ""))
		}
		if diff := cmp.Diff(w.labels, s.labels); diff != "" {
			t.Errorf("%q: sets of label names (-want +got):\n%s", body, diff)
		}
	}
}

func newBuilderOf(key wire.Key) *builder {
	b := newBuilder()
	b.key = key
	return b
}

func TestTables(t *testing.T) {
	left := map[string]bool{
		"one series twice": true, "one series for the group": true, "half a count": true, "with a timestamp": true, "a name of any letters": true,
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			if got := same(t, key(), body, nil); got == left[name] {
				t.Errorf("by the tables: %v, want %v", got, !left[name])
			}
			same(t, key("instance", "i", "b", "2"), body, nil)
		})
	}
}

// TestTablesLeaveOut has metrics left out, all of a family among them.
func TestTablesLeaveOut(t *testing.T) {
	pass, out := wire.Fate{Act: wire.Pass}, wire.Fate{Act: wire.LeaveOut}
	body := "# TYPE a gauge\na{n=\"1\"} 1\na{n=\"2\"} 2 1700000000000\n# TYPE h histogram\nh_count 1\nh_sum 2\nh_bucket{le=\"1\"} 1\n"
	if !same(t, key(), body, []wire.Fate{pass, out, out}) || !same(t, key(), body, []wire.Fate{out, out, pass}) {
		t.Error("not by the tables")
	}
	if same(t, key(), body, []wire.Fate{pass, pass, out}) {
		t.Error("a timestamp was taken")
	}
}

// TestTablesOfCaptures reads what real clients pushed.
func TestTablesOfCaptures(t *testing.T) {
	files, _ := filepath.Glob("../../testdata/captures/*.json")
	read := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Request struct {
				Body []byte `json:"body_base64"`
			}
		}
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		// Bodies that are no text are parsed as one, and leave it to others.
		if len(c.Request.Body) > 0 && same(t, key(), string(c.Request.Body), nil) {
			read++
		}
	}
	if read < 80 {
		t.Errorf("%d of %d captures were read by the tables: are they all there?", read, len(files))
	}
}

// TestBuilderForgets has nothing of one push in what the next one makes.
func TestBuilderForgets(t *testing.T) {
	b := newBuilder()
	for range 2 {
		for name, body := range bodies {
			r, err := request(http.MethodPut, key(), body)
			if err != nil || r.Push == nil {
				continue
			}
			got, err := b.families(r, 7)
			want, wantErr := newBuilder().families(r, 7)
			if (err == nil) != (wantErr == nil) || render(got) != render(want) {
				t.Errorf("%s: %v %q, want %v %q", name, err, render(got), wantErr, render(want))
			}
		}
	}
	if b.tables.Push != nil || b.push.Body != nil {
		t.Error("it keeps a push")
	}
}

func render(families []*family) string {
	var out strings.Builder
	for _, f := range families {
		out.Write(f.appendText(nil, ""))
	}
	return out.String()
}

// FuzzTables has the tables say what expfmt says of any text.
func FuzzTables(f *testing.F) {
	for _, body := range bodies {
		f.Add(body, false)
		f.Add(body, true)
	}
	f.Fuzz(func(t *testing.T, body string, named bool) {
		k := key()
		if named {
			k = key("instance", "i", "b", "2")
		}
		same(t, k, body, nil)
	})
}

// BenchmarkBuild makes the families of 100 series that are not known, ten of a family.
func BenchmarkBuild(b *testing.B) {
	var body strings.Builder
	for i := range 100 {
		if i%10 == 0 {
			body.WriteString("# TYPE step_" + string(rune('a'+i/10)) + "_rows gauge\n")
		}
		body.WriteString("step_" + string(rune('a'+i/10)) + "_rows{region=\"eu-west-1\",status=\"ok\",table=\"orders_" + string(rune('a'+i%10)) + "\"} 12345\n")
	}
	r, err := request(http.MethodPut, key("instance", "i"), body.String())
	if err != nil {
		b.Fatal(err)
	}
	for name, build := range map[string]func(*builder, gateway.Request) ([]*family, error){
		"tables": func(bu *builder, r gateway.Request) ([]*family, error) { return bu.families(r, 7) },
		"expfmt": func(bu *builder, r gateway.Request) (all []*family, err error) {
			parsed, err := parse(r.Push.Body, r.Push.Encoding)
			for _, mf := range parsed {
				f, err := bu.build(mf, 7)
				if err != nil {
					return nil, err
				}
				all = append(all, f)
			}
			return all, err
		},
	} {
		b.Run(name, func(b *testing.B) {
			bu := newBuilder()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := build(bu, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
