package statsd

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// clock is a time that tests set.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Unix(1_800_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// logbook is what a sender logs.
type logbook struct{ logtest.Buffer }

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func newSender(t testing.TB, c Config) *Sender {
	t.Helper()
	if c.Tags == 0 {
		c.Tags = DogStatsD
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// start runs a sender until the returned function is called, or the test ends.
func start(t testing.TB, s *Sender) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func pending(s *Sender) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued.n
}

// metric is a sample of the sender's own metrics.
func metric(t testing.TB, s *Sender, name string, labels ...string) float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(s)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == "pushguard_statsd_"+name && slices.Equal(got, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("no metric %s%q", name, labels)
	return 0
}

func dropped(t testing.TB, s *Sender, why Refusal) float64 {
	return metric(t, s, "dropped_total", string(why))
}

// series of a name, and pairs of label names and values.
func newCounter(name string, pairs ...string) *counter.Series {
	return &counter.Series{Name: name, Kind: counter.Counter, Labels: pairsOf(pairs)}
}

func newSummary(name string, pairs ...string) *counter.Series {
	return &counter.Series{Name: name, Kind: counter.Summary, Labels: pairsOf(pairs)}
}

func newHistogram(name string, bounds []float64, pairs ...string) *counter.Series {
	return &counter.Series{Name: name, Kind: counter.Histogram, Bounds: bounds, Labels: pairsOf(pairs)}
}

func pairsOf(pairs []string) []labels.Label {
	var out []labels.Label
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func count(s *Sender, src *counter.Series, v float64) {
	s.Add([]counter.Increment{{Series: src, Value: v}})
}

// observe adds one observation to a histogram.
func observe(s *Sender, src *counter.Series, v float64) {
	b := make([]float64, len(src.Bounds))
	for i, bound := range src.Bounds {
		if v <= bound {
			b[i] = 1
		}
	}
	s.Add([]counter.Increment{{Series: src, Count: 1, Sum: v, Buckets: b}})
}

// socket is a unixgram socket that keeps what it is sent.
type socket struct {
	*net.UnixConn
	url *url.URL
}

func listen(t testing.TB) *socket {
	t.Helper()
	return listenAt(t, filepath.Join(t.TempDir(), "s"))
}

func listenAt(t testing.TB, path string) *socket {
	t.Helper()
	_ = os.Remove(path) // of one before, which does not remove it
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &socket{c, &url.URL{Scheme: "unixgram", Path: path}}
}

// datagrams returns what has come.
func (s *socket) datagrams(t testing.TB) []string {
	t.Helper()
	var out []string
	buf := make([]byte, 1<<16)
	raw, err := s.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for {
		n, read := 0, error(nil)
		err := raw.Read(func(fd uintptr) bool {
			n, _, read = syscall.Recvfrom(int(fd), buf, syscall.MSG_DONTWAIT)
			return true
		})
		if err != nil || read != nil {
			return out
		}
		out = append(out, string(buf[:n]))
	}
}

// lines are those of all datagrams that have come.
func (s *socket) lines(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, d := range s.datagrams(t) {
		out = append(out, strings.Split(d, "\n")...)
	}
	return out
}

// address of an exporter by its transport.
func address(e *statsdtest.Exporter, transport string) *url.URL {
	return map[string]*url.URL{"udp": e.UDP, "tcp": e.TCP, "unixgram": e.Unixgram}[transport]
}

var transports = []string{"udp", "tcp", "unixgram"}

// settle waits until everything was sent, and the exporter shows all of it: its
// counters are those wanted.
func settle(t testing.TB, s *Sender, e *statsdtest.Exporter, want map[string]float64) {
	t.Helper()
	eventually(t, "nothing pending", func() bool { return pending(s) == 0 })
	var got map[string]float64
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = e.Counters(t); maps.Equal(got, want) {
			return
		}
	}
	t.Errorf("the exporter shows, against what is wanted:\n%s", differences(got, want))
}

func differences(got, want map[string]float64) string {
	var b strings.Builder
	all := maps.Clone(want)
	maps.Copy(all, got)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if got[name] != want[name] {
			fmt.Fprintf(&b, "  %s %v %v\n", name, got[name], want[name])
		}
	}
	return b.String()
}

func contains(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}
