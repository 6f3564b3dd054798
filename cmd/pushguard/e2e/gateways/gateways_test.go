package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// small is a run that is over in seconds.
func small(t *testing.T, args ...string) options {
	t.Helper()
	world.Need(t, world.PushgatewayPath)
	o, err := parse(append([]string{"-rounds=1", "-duration=1s", "-series=1000", "-guard=" + world.Binary(t)}, args...), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	o.dir = t.TempDir()
	return o
}

// TestFront measures a guard in front of a Pushgateway, and looks whether what was
// pushed through it is there.
func TestFront(t *testing.T) {
	s := &stage{options: small(t)}
	defer s.stop()
	lines, err := front(t.Context(), s, 10, 0)
	if err != nil || len(lines) != 1 || lines[0].got <= 0 || !strings.Contains(lines[0].detail, "; net/http alone ") {
		t.Fatal(lines, err)
	}
	guard := s.contenders[1]
	if len(guard.shots) != 1 || guard.shots[0].pushes == 0 || guard.shots[0].p50 <= 0 || guard.shots[0].p99 < guard.shots[0].p50 {
		t.Errorf("shots %+v", guard.shots)
	}
	holds(t, guard, 10*perGroup)
}

// holds looks how many series of the first family are on a contender's page.
func holds(t *testing.T, c *contender, want int) {
	t.Helper()
	page, err := http.Get(c.front().URL + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte("\nstep_000_rows{")); n != want {
		t.Errorf("%d series on the page, want %d", n, want)
	}
}

// TestBare has the server that does nothing hand pushes on, and has it keep nothing alone.
func TestBare(t *testing.T) {
	s := &stage{options: small(t)}
	defer s.stop()
	direct, err := s.pushgateway(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.bare(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := s.bare(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.fill(t.Context(), shape{groups: 20, series: perGroup}.pushes(), before); err != nil {
		t.Fatal(err)
	}
	if err := s.fill(t.Context(), shape{groups: 30, series: perGroup}.pushes(), alone); err != nil {
		t.Fatal(err)
	}
	holds(t, direct, 20*perGroup)
}

// TestFilled has a checked Pushgateway hold what it never was pushed.
func TestFilled(t *testing.T) {
	s := &stage{options: small(t)}
	defer s.stop()
	full := shape{groups: 100, series: perGroup}.pushes()
	c, err := s.filled(t.Context(), full)
	if err != nil {
		t.Fatal(err)
	}
	page, err := readPage(t.Context(), c.front().URL+"/metrics")
	if err != nil || page.bytes < 100*perGroup*90 || page.first <= 0 || page.took < page.first {
		t.Errorf("page %+v, %v", page, err)
	}
	if err := s.aim(full, c); err != nil {
		t.Fatal(err)
	}
	if err := s.compete(t.Context(), c); err != nil || len(c.shots) != 1 {
		t.Errorf("%+v, %v", c.shots, err)
	}
	s.stop()
	next := &stage{options: s.options} // of the next work
	defer next.stop()
	if c, err = next.filled(t.Context(), shape{groups: 10, series: perGroup}.pushes()); err != nil {
		t.Fatal(err)
	}
	after, err := readPage(t.Context(), c.front().URL+"/metrics")
	if err != nil || after.bytes > page.bytes/4 {
		t.Errorf("a page of %d bytes for 10 groups, of %d for 100 (%v)", after.bytes, page.bytes, err)
	}
}

// TestRun is the whole program at a work that cannot be measured: it says so, and goes
// on.
func TestRun(t *testing.T) {
	o := small(t)
	var out, told bytes.Buffer
	args := []string{"-rounds=1", "-duration=1s", "-series=1000", "-guard=" + o.guard, "-only=unchecked Pushgateway, 10 series"}
	if err := run(t.Context(), args, &out, &told); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "| in front of an unchecked Pushgateway, policy on, against pushing to it, 10 series a push | at least 0.6 times |") {
		t.Errorf("out:\n%s\ntold:\n%s", &out, &told)
	}
	for _, bad := range [][]string{{"-rounds=0"}, {"-series=10"}, {"-only=("}, {"-nonsense"}} {
		if err := run(t.Context(), bad, io.Discard, io.Discard); err == nil {
			t.Errorf("%q is no fault", bad)
		}
	}
}

// TestRefusedPushesAreNoThroughput has a server that refuses every other push.
func TestRefusedPushesAreNoThroughput(t *testing.T) {
	n := 0
	u := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n++; n%2 == 0 {
			http.Error(w, "no room", http.StatusUnprocessableEntity)
		}
	}))
	defer u.Close()
	l, err := dial(u.Listener.Addr().String(), shape{groups: 1, series: 1}.pushes(), 1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	if _, err := l.during(t.Context(), time.Minute); err == nil || !strings.Contains(err.Error(), "422: no room") {
		t.Errorf("err %v, want the answer", err)
	}
}

func TestShapes(t *testing.T) {
	for _, s := range []shape{{groups: 3, series: 25}, {groups: 100, series: 10, apart: true}} {
		bodies := map[string]bool{}
		for _, p := range s.pushes() {
			head, body, _ := bytes.Cut(p, []byte("\r\n\r\n"))
			parser := expfmt.NewTextParser(model.LegacyValidation)
			families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
			if err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, mf := range families {
				n += len(mf.Metric)
			}
			if n != s.series {
				t.Errorf("%+v: %d series", s, n)
			}
			if r := "PUT /metrics/job/bench/instance/worker-0000"; !bytes.HasPrefix(head, []byte(r)) {
				t.Errorf("%+v: %s", s, head)
			}
			bodies[string(body)] = true
		}
		if len(bodies) < 64 {
			t.Errorf("%+v: %d different bodies", s, len(bodies))
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	err := writeTable(&out, options{rounds: 5, duration: time.Second, conns: 4, series: 1_000_000}, server.Machine{Cores: 2, Model: "A CPU"}, []line{
		{work: "more", goal: atLeast(2./3, " times"), got: 0.7, detail: "7 and 10"},
		{work: "less", goal: atMost(0.025, " times"), got: 0.0251},
		{work: "much", goal: atLeast(10_000, " times"), got: 10_000},
		{work: "none", failed: errors.New("a|b\nlogs")},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, got, _ := strings.Cut(out.String(), "|---|---|---|---|---|\n")
	const want = `| more | at least 0.667 times | 0.7 times | met | 7 and 10 |
| less | at most 0.025 times | 0.025 times | not met |  |
| much | at least 10,000 times | 10,000 times | met |  |
| none | | not measured | | a\|b |
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestMedians(t *testing.T) {
	a, b := []shot{{pushes: 10, took: 1e9}, {pushes: 90, took: 1e9}, {pushes: 20, took: 1e9}}, []shot{{pushes: 10, took: 1e9}, {pushes: 10, took: 1e9}, {pushes: 10, took: 1e9}}
	if got := ratio(a, b, shot.rate); got != 2 {
		t.Errorf("ratio %v, want 2", got)
	}
	if got := median([]float64{4, 1, 3, 2}); got != 2.5 {
		t.Errorf("median %v, want 2.5", got)
	}
	if got := median(nil); got != 0 {
		t.Errorf("median of none %v", got)
	}
	for seconds, want := range map[float64]string{0.00025: "250 µs", 0.0123: "12.3 ms", 2: "2.0 s"} {
		if got := short(seconds); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
