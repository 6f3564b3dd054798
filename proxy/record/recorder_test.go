package record

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

func mustKey(t testing.TB, path string) wire.Key {
	t.Helper()
	key, err := wire.ParsePath(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func pushed(t testing.TB, path, body string) *Push {
	t.Helper()
	return &Push{
		Time: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Method: http.MethodPost, Key: mustKey(t, path),
		ContentType: "text/plain; secret=abc", Body: []byte(body), Happened: Happened{Outcome: "passed", AsPushed: true},
	}
}

func open(t *testing.T, cfg Config) *Recorder {
	t.Helper()
	if cfg.Path == "" {
		cfg.Path = filepath.Join(t.TempDir(), "recorded.jsonl")
	}
	r, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// readAll reads the entries of a file.
func readAll(t testing.TB, path string) (entries []Entry, torn int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for line, err := range Read(f, &torn) {
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, line.Entry)
	}
	return entries, torn
}

// keepAll records pushes and returns what is in the file.
func keepAll(t *testing.T, r *Recorder, pushes ...*Push) []Entry {
	t.Helper()
	for _, p := range pushes {
		if r.Wants(len(p.Body)) {
			r.Keep(p)
		}
	}
	r.drain()
	entries, torn := readAll(t, r.cfg.Path)
	if torn > 0 || r.lost.Load() > 0 {
		t.Errorf("%d torn, %d lost", torn, r.lost.Load())
	}
	return entries
}

// TestNothingIsShown records what must not be read, wherever a client may put it.
func TestNothingIsShown(t *testing.T) {
	const path = "/metrics/job/etl_3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a/user/alice@example.com/instance/10.1.2.3:9100"
	p := pushed(t, path, `# HELP paid Paid by bob@example.com with 4111111111111111.
# TYPE paid counter
paid{customer="user_77123456",url="https://bob:hunter2@shop.example.com/orders/998877?token=s3cr3t",env="prod",db_password="swordfish"} 1234.5
# TYPE age gauge
age{id="9f86d081884c7d659a2feaa0c55ad015"} 41
`)
	p.Sent, p.SentKey, p.Happened.AsPushed, p.IdempotencyKey = p.Body, p.Key, false, "order-998877"
	r := open(t, Config{Secret: [32]byte{7}})
	entries := keepAll(t, r, p)
	text, err := os.ReadFile(r.cfg.Path)
	if err != nil || len(entries) != 1 {
		t.Fatal(len(entries), err)
	}
	all := string(text) + string(entries[0].Request.Body)
	for _, secret := range []string{
		"3f2b8c1e", "alice", "10.1.2.3", "bob@", "4111111111111111", "77123456", "hunter2", "998877", "s3cr3t", "swordfish", "1234.5", "9f86d081", " 41\n", "secret=abc",
	} {
		if strings.Contains(all, secret) {
			t.Errorf("%q is shown:\n%s", secret, all)
		}
	}
	for _, kept := range []string{`env="prod"`, "user_", "shop.example.com", "# TYPE paid counter"} {
		if !strings.Contains(all, kept) {
			t.Errorf("%q is not shown:\n%s", kept, all)
		}
	}
	if info, err := os.Stat(r.cfg.Path); err != nil || info.Mode() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestEqualStaysEqual has one value hidden alike wherever and whenever it comes, and
// two otherwise.
func TestEqualStaysEqual(t *testing.T) {
	const one, two = "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5b"
	body := func(id string) string { return fmt.Sprintf("rows{run_id=%q} 10\n", id) }
	secret := [32]byte{7}
	r := open(t, Config{Secret: secret})
	e := keepAll(t, r, pushed(t, "/metrics/job/a", body(one)), pushed(t, "/metrics/job/a", body(two)), pushed(t, "/metrics/job/a", body(one)))
	later := keepAll(t, open(t, Config{Secret: secret}), pushed(t, "/metrics/job/a", body(one)))
	other := keepAll(t, open(t, Config{Secret: [32]byte{8}}), pushed(t, "/metrics/job/a", body(one)))
	a := string(e[0].Request.Body)
	if a == string(e[1].Request.Body) || a != string(e[2].Request.Body) || a != string(later[0].Request.Body) || a == string(other[0].Request.Body) {
		t.Errorf("%s%s%s%s%s", a, e[1].Request.Body, e[2].Request.Body, later[0].Request.Body, other[0].Request.Body)
	}
}

func TestFewValuesStayReadable(t *testing.T) {
	r := newRedactor([32]byte{7})
	name := func(i int) string { return "team " + string(rune('a'+i)) }
	for i := range 2 * maxReadable {
		if got := r.value("j", "team", name(i)); (got == name(i)) != (i < maxReadable) {
			t.Errorf("value %d, %q, became %q", i, name(i), got)
		}
	}
	if got := r.value("other", "team", name(20)); got != name(20) {
		t.Errorf("of another job %q became %q", name(20), got)
	}
	for size, readable := range map[int]bool{readableSize: true, readableSize + 1: false} {
		value := strings.Repeat("ab_", readableSize)[:size]
		if got := r.value("long", "x", value); len(got) != size || (got == value) != readable {
			t.Errorf("%d bytes became %q", size, got)
		}
	}
}

// TestCountersStayCounters scales what was pushed: growth, order, signs, zero and
// whole numbers are as before, a histogram is one, and times are not touched.
func TestCountersStayCounters(t *testing.T) {
	r := newRedactor([32]byte{7})
	plain := func(label, value string) string { return r.value("j", label, value) }
	values := func(text string) []float64 {
		families, err := gateway.ReadFamilies([]byte(text), "text/plain")
		if err != nil {
			t.Fatal(err)
		}
		r.families("j", families, plain)
		inOrder(families, nil)
		samples, _ := expfmt.ExtractSamples(&expfmt.DecodeOptions{}, families...)
		var out []float64
		for _, s := range samples {
			out = append(out, float64(s.Value))
		}
		return out
	}
	v := values("# TYPE a_total counter\na_total{x=\"1\"} 0\na_total{x=\"2\"} 5\na_total{x=\"3\"} 10\na_total{x=\"4\"} 5\n")
	if v[0] != 0 || v[1] < 10 || v[2] != 2*v[1] || v[3] != v[1] {
		t.Errorf("counters became %v", v)
	}
	if v := values("up 1\nprocess_start_time_seconds 1700000000.5\n# TYPE n gauge\nn -3\n"); v[0] > -6 || v[1] != 1700000000.5 || v[2] != 1 {
		t.Errorf("gauges became %v", v)
	}
	h := values("# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n")
	u := values("h_bucket{le=\"1\"} 2\n")
	slices.Sort(h) // 2, 3, 3 and 4 they were
	if by := h[0] / 2; len(h) != 4 || by < 2 || !slices.Equal(h, []float64{2 * by, 3 * by, 3 * by, 4 * by}) || u[0] != 2*by {
		t.Errorf("a histogram became %v, its bucket alone %v", h, u)
	}
	huge := &dto.MetricFamily{Name: proto.String("c"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Counter: &dto.Counter{Value: proto.Float64(1e308)}}}}
	if r.families("j", []*dto.MetricFamily{huge}, plain); huge.Metric[0].Counter.GetValue() != 1e308 {
		t.Errorf("1e308 became %v", huge.Metric[0].Counter.GetValue())
	}
}

// TestLimits records at, under and over each limit.
func TestLimits(t *testing.T) {
	r := open(t, Config{})
	if !r.Wants(maxBody) || r.Wants(maxBody+1) || r.dropped[tooLarge].Load() != 1 {
		t.Error("the size of a body is not limited")
	}
	small := pushed(t, "/metrics/job/a", "a 1\n")
	for i := range maxWaiting {
		if !r.Wants(len(small.Body)) {
			t.Fatalf("push %d was dropped", i)
		}
		r.Keep(small)
	}
	if r.Wants(1) || r.dropped[queueFull].Load() != 1 {
		t.Error("the queue is not limited")
	}
	r.Keep(small) // that came between, and found no room
	if r.dropped[queueFull].Load() != 2 || r.bytes.Load() != maxWaiting*4 {
		t.Errorf("%d dropped, %d bytes wait", r.dropped[queueFull].Load(), r.bytes.Load())
	}
	entries := keepAll(t, r)
	if len(entries) != maxWaiting || entries[0].Dropped != 3 || entries[1].Dropped != 0 || r.bytes.Load() != 0 {
		t.Errorf("%d entries, the first after %d dropped; %d bytes wait", len(entries), entries[0].Dropped, r.bytes.Load())
	}

	r = open(t, Config{})
	big := &Push{Method: http.MethodPost, Key: small.Key, Body: make([]byte, maxBody)}
	for r.Wants(maxBody) {
		r.Keep(big)
	}
	if len(r.waiting) != maxWaitingBytes/maxBody {
		t.Errorf("%d bodies of 1 MiB wait", len(r.waiting))
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(1000, 0)
	r := open(t, Config{Rate: 2})
	r.rate.now = func() time.Time { return now }
	took := func() (n int) {
		for r.Wants(1) {
			n++
		}
		return n
	}
	if n := took(); n != 20 {
		t.Errorf("%d at once, want those of ten seconds, 20", n)
	}
	now = now.Add(1500 * time.Millisecond)
	if n := took(); n != 3 {
		t.Errorf("%d after a second and a half, want 3", n)
	}
	now = now.Add(time.Hour)
	if n := took(); n != 20 || r.dropped[overRate].Load() != 3 {
		t.Errorf("%d after an hour, want 20; %d dropped", n, r.dropped[overRate].Load())
	}
}

// TestRotationAndCompression records until the file was set aside many times.
func TestRotationAndCompression(t *testing.T) {
	for _, by := range []audit.Compression{"", audit.Gzip, audit.Zstd} {
		r := open(t, Config{Rotation: audit.Rotation{MaxSize: 2000, Compress: by}})
		for i := range 100 {
			keepAll(t, r, pushed(t, "/metrics/job/a", fmt.Sprintf("rows{n=\"x%d\"} 1\n", i)))
		}
		for range 100 {
			if err := r.file.Tend(); err != nil {
				t.Fatal(err)
			}
		}
		names, err := audit.Rotated(r.cfg.Path)
		if err != nil || len(names) < 10 {
			t.Fatal(len(names), err)
		}
		n := 0
		for _, name := range append(names, r.cfg.Path) {
			entries, _ := readAll(t, name)
			n += len(entries)
			if by != "" && name != r.cfg.Path && !strings.HasSuffix(name, map[audit.Compression]string{audit.Gzip: ".gz", audit.Zstd: ".zst"}[by]) {
				t.Errorf("%s is not compressed", name)
			}
		}
		if n != 100 {
			t.Errorf("%s: %d entries", by, n)
		}
	}
}

// TestRunWritesWhatWaits stops a recorder that has work left.
func TestRunWritesWhatWaits(t *testing.T) {
	r := open(t, Config{})
	for range 50 {
		r.Keep(pushed(t, "/metrics/job/a", "a 1\n"))
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := r.Run(ctx); err != context.Canceled {
		t.Error(err)
	}
	if entries, _ := readAll(t, r.cfg.Path); len(entries) != 50 || r.written.Load() != 50 {
		t.Errorf("%d entries", len(entries))
	}
}

// TestWritesWhileItTends has the file be tended for as long as it takes until a push that
// came meanwhile is written, as compressing it takes.
func TestWritesWhileItTends(t *testing.T) {
	r := open(t, Config{})
	tending, written := make(chan struct{}, 9), make(chan struct{})
	r.tend = func() error {
		tending <- struct{}{}
		<-written
		return nil
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	<-tending
	r.Keep(pushed(t, "/metrics/job/a", "a 1\n"))
	for deadline := time.Now().Add(time.Minute); r.written.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("nothing is written while the file is tended")
			break
		}
	}
	stop()
	close(written)
	<-done
}

func TestATornFile(t *testing.T) {
	const good = `{"time":"2026-03-04T05:06:07Z","request":{"method":"PUT","target":"/metrics/job/a","body_base64":"YSAxCg=="},"happened":{"job":"a","outcome":"passed"}}`
	for name, tc := range map[string]struct {
		text          string
		entries, torn int
		fault         bool
	}{
		"whole":                     {good + "\n" + good + "\n", 2, 0, false},
		"without its end":           {good + "\n" + good, 2, 0, false},
		"the last is torn":          {good + "\n" + good[:50], 1, 1, false},
		"torn in a string, ended":   {good + "\n" + good[:50] + "\n" + good + "\n", 2, 1, false},
		"torn between, ended":       {good + "\n" + good[:8] + "\n" + good + "\n" + good + "\n", 3, 1, false},
		"of another kind":           {good + "\n" + `{"time":7}` + "\n" + good + "\n", 2, 1, false},
		"noise":                     {good + "\nx\n\n" + good + "\n", 2, 1, false},
		"not recorded, and torn":    {`{"request":{}}` + "\n" + `{"requ`, 1, 0, true},
		"nothing":                   {"", 0, 0, false},
		"the first is torn":         {good[:50] + "\n" + good + "\n", 1, 1, false},
		"all are torn":              {good[:50] + "\n" + good[:60], 0, 2, true},
		"torn, and not recorded":    {good[:50] + "\n" + `{"request":{}}` + "\n" + good, 0, 1, true},
		"zeroed by a loss of power": {good + "\n" + strings.Repeat("\x00", 700) + "\n" + good + "\n", 2, 1, false},
		"torn often":                {strings.Repeat(good+"\n"+good[:50]+"\n", 20) + strings.Repeat(good+"\n", 50), 70, 20, false},
		"torn before the last":      {good + "\n" + good[:8] + "\n" + good + "\n", 2, 1, false},
		"compressed, but it is not": {"\x1f\x8bxx", 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			n, torn := 0, 0
			var fault error
			for _, err := range Read(strings.NewReader(tc.text), &torn) {
				if fault = err; err == nil {
					n++
				}
			}
			if n != tc.entries || torn != tc.torn || (fault != nil) != tc.fault {
				t.Errorf("%d entries, %d torn, %v; want %d and %d", n, torn, fault, tc.entries, tc.torn)
			}
		})
	}
}

// TestADamagedFile has no file that cannot be read to its end look as one that ends with a
// torn line.
func TestADamagedFile(t *testing.T) {
	var plain, packed bytes.Buffer
	for n := range 1000 {
		fmt.Fprintf(&plain, `{"time":"2026-03-04T05:06:07Z","request":{"method":"PUT","target":"/metrics/job/%d"},"happened":{"job":"a","outcome":"passed"}}`+"\n", n*n)
	}
	w := gzip.NewWriter(&packed)
	if _, err := w.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(packed.Bytes())
	flipped[len(flipped)/2] ^= 0x55
	for how, content := range map[string][]byte{"a bit": flipped, "the end": packed.Bytes()[:packed.Len()/2]} {
		torn, last := 0, error(nil)
		for _, err := range Read(bytes.NewReader(content), &torn) {
			last = err
		}
		if last == nil {
			t.Errorf("%s: %d torn, and no error", how, torn)
		}
	}
}

func FuzzRecordedFile(f *testing.F) {
	r := newRedactor([32]byte{7})
	line, err := json.Marshal(r.entry(pushed(f, "/metrics/job/a", "a{x=\"1\"} 1\n")))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append(line, '\n'), line...))
	f.Add(append(append(line, '\n'), line[:30]...))
	f.Add([]byte(`{"request":{"method":"PUT"}}`))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x28\xb5\x2f\xfd\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		torn, last := 0, error(nil)
		for line, err := range Read(bytes.NewReader(data), &torn) {
			if last != nil {
				t.Fatal("an entry after an error")
			}
			if last = err; err == nil && line.Happened != nil {
				line.SeriesOf(wire.Key{})
			}
		}
		// Whatever there is, a whole line behind it on a line of its own is read.
		if last != nil || torn > 0 || bytes.HasPrefix(data, []byte("\x1f\x8b")) || bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")) {
			return
		}
		n := 0
		for _, err := range Read(io.MultiReader(bytes.NewReader(data), strings.NewReader("\n"+string(line))), &torn) {
			if err == nil {
				n++
			}
		}
		if n == 0 {
			t.Errorf("the line behind %q was not read", data)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	p := pushed(b, "/metrics/job/etl/instance/a", strings.Repeat("rows{run_id=\"3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a\"} 1\n", 20))
	r, err := Open(Config{Path: filepath.Join(b.TempDir(), "r.jsonl")})
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		r.write(p)
	}
}
