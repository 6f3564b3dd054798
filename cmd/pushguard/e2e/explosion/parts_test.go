package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

func TestEveryPushIsNew(t *testing.T) {
	const pushes = 100_000
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	runs, names := map[string]bool{}, map[string]bool{}
	for i := range pushes {
		id := runID(i)
		if !uuid.MatchString(id) {
			t.Fatalf("run %d is %q, no UUID", i, id)
		}
		runs[id], names[letters(i)] = true, true
	}
	if len(runs) != pushes || len(names) != pushes {
		t.Errorf("%d runs and %d names of %d pushes", len(runs), len(names), pushes)
	}
}

func TestAttacks(t *testing.T) {
	for _, tc := range []struct {
		attack     attack
		path, body string // of the push with number 0
	}{
		{attacks[0], "/metrics/job/load/run_id/" + runID(0), "rows_loaded_total 7"},
		{attacks[1], "/metrics/job/load/instance/hostb00", `rows_loaded_total{run_id="` + runID(0) + `"} 7`},
		{attacks[2], "/metrics/job/load_application_1690000000000_0001", "rows_loaded_total 7"},
		{attacks[3], "/metrics/job/load_" + letters(0), "rows_loaded_total 7"},
	} {
		r := tc.attack.begin(1)(0)
		if r.path != tc.path || !strings.Contains(string(r.body), tc.body) {
			t.Errorf("%s: POST %s\n%s", tc.attack.name, r.path, r.body)
		}
	}
}

// A registry keeps what it ever held, so the second round has two runs.
func TestBodyLabelGrows(t *testing.T) {
	next := bodyLabel(0)
	var r request
	for i := range workers + 1 {
		r = next(i)
	}
	if got := strings.Count(string(r.body), "run_id="); got != 2 {
		t.Errorf("%d runs in the second push of a worker, want 2:\n%s", got, r.body)
	}
}

const onePage = `# HELP up text
# TYPE payroll_rows_done gauge
payroll_rows_done{instance="",job="payroll",table="accounts"} 7
payroll_rows_done{instance="",job="payroll",table="bookings"} 7
payroll_rows_done{instance="",job="payroll",table="employees"} 7
payroll_rows_done{instance="",job="payroll",table="hours"} 8
payroll_rows_done{instance="",job="payroll",table="taxes"} 7

push_time_seconds{instance="",job="payroll"} 1.79e+09
`

func TestScan(t *testing.T) {
	p, err := scan(strings.NewReader(onePage))
	if err != nil || p.series != 6 || len(p.neighbour) != 5 {
		t.Fatalf("%+v, %v, want 6 series, 5 of them the neighbour's", p, err)
	}
	for _, tc := range []struct {
		low, high int64
		want      bool
	}{{7, 8, true}, {1, 9, true}, {8, 8, false}, {7, 7, false}} {
		if got := p.shows(tc.low, tc.high); got != tc.want {
			t.Errorf("shows(%d, %d) is %t", tc.low, tc.high, got)
		}
	}
	p, err = scan(strings.NewReader(strings.Replace(onePage, "payroll_rows_done{", "other{", 1)))
	if err != nil || p.shows(1, 9) {
		t.Errorf("a page without one series of the job shows it all (%v)", err)
	}
	if _, err := scan(strings.NewReader("payroll_rows_done{} x\n")); err == nil {
		t.Error("a value that is no number is taken")
	}
	if _, err := scan(strings.NewReader(strings.Repeat("x", longest+1))); err == nil {
		t.Error("a line that is too long is taken")
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(i+1))
	}
	for _, tc := range []struct {
		of      []time.Duration
		percent int
		want    time.Duration
	}{
		{nil, 99, 0},
		{hundred[:1], 50, 1},
		{hundred, 50, 50},
		{hundred, 99, 99},
		{hundred, 100, 100},
		{hundred[:10], 99, 10},
	} {
		if got := quantile(tc.of, tc.percent); got != tc.want {
			t.Errorf("p%d of %d is %d, want %d", tc.percent, len(tc.of), got, tc.want)
		}
	}
}

func TestWords(t *testing.T) {
	for got, want := range map[string]string{
		thousands(7): "7", thousands(999): "999", thousands(1000): "1,000", thousands(1234567): "1,234,567",
		brief(0): "0", brief(500): "500", brief(2500): "2.5k", brief(300_000): "300k", brief(2e6): "2M",
		short(1500 * time.Microsecond): "1.5 ms", short(50 * time.Millisecond): "50 ms", short(2100 * time.Millisecond): "2.1 s",
		answers(map[int]int{422: 1, 200: 1000, 0: 2}): "none: 2, 200: 1,000, 422: 1",
		fromTo(12<<20, 1<<30):                         "12 → 1,024", fromTo(0, 0): "-",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestScale(t *testing.T) {
	for _, tc := range []struct {
		highest float64
		want    []float64
	}{
		{0, []float64{0, 0.25, 0.5, 0.75, 1}},
		{100_000, []float64{0, 25_000, 50_000, 75_000, 100_000}},
		{300_071, []float64{0, 100_000, 200_000, 300_000, 400_000}},
		{5000, []float64{0, 1000, 2000, 3000, 4000, 5000}},
		{70, []float64{0, 20, 40, 60, 80}},
	} {
		s := newScale(tc.highest, 200, 100)
		if got := s.ticks(); !slices.Equal(got, tc.want) {
			t.Errorf("up to %g: %v, want %v", tc.highest, got, tc.want)
		}
		if s.at(0) != 200 || s.at(s.top) != 100 {
			t.Errorf("up to %g: from %g to %g", tc.highest, s.at(0), s.at(s.top))
		}
	}
}

func TestSpread(t *testing.T) {
	got := spread([]label{{"", "top", 10}, {"", "low", 99}, {"", "lower", 100}}, 95)
	for i, want := range []label{{"", "lower", 95}, {"", "low", 95 - labelGap}, {"", "top", 10}} {
		if got[i] != want {
			t.Errorf("label %d is %v, want %v", i, got[i], want)
		}
	}
}

// A run that was stopped says where, and no word can break the picture.
func TestPlotTellsStops(t *testing.T) {
	ends := row{pushes: 1234, series: 5000, gateway: 1 << 30}
	var results []result
	for _, a := range attacks {
		results = append(results,
			result{attack: a, rows: []row{{}, ends}, pushes: 1234, took: time.Minute, stopped: true, fate: fate{pushes: 10, refused: 2, lost: true}},
			result{attack: a, guarded: true, rows: []row{{}, ends}, pushes: 5000, fate: fate{pushes: 10}})
	}
	words := wellFormed(t, plot(options{pushes: 5000, pushers: 2, every: time.Second}, server.Machine{Model: `<b> & "c"`}, results))
	for _, want := range []string{"stopped after 60.0 s at 1,234 pushes", "lost 3 of 10", "lost 0 of 10", `<b> & "c"`, "bare 1,024 MiB"} {
		if !strings.Contains(words, want) {
			t.Errorf("the plot does not say %q:\n%s", want, words)
		}
	}
	if got := strings.Count(words, "in the job name"); got != 1 {
		t.Errorf("the plot names %d attacks by job name, want the one that is for it", got)
	}
}
