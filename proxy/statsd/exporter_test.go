package statsd

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/counter"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

// fast is a configuration for tests against an exporter. Over UDP it sends so little
// that what a busy machine lets lie for seconds fits into the exporter's socket.
func fast(e *statsdtest.Exporter, transport string) Config {
	c := Config{
		Address: address(e, transport), Tags: DogStatsD,
		FlushEvery: 10 * time.Millisecond, ZeroHold: 30 * time.Millisecond, Heartbeat: 100 * time.Millisecond,
	}
	if transport == "udp" {
		c.FlushEvery, c.ZeroHold, c.Heartbeat = 100*time.Millisecond, 300*time.Millisecond, time.Second
	}
	return c
}

func TestTotalsEqualTheTruth(t *testing.T) {
	const workers, pushes = 20, 500
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			s := newSender(t, fast(e, transport))
			stop := start(t, s)
			bounds := []float64{0.25, 1, 2.5}
			rows := newHistogram("dur_seconds", bounds, "job", "nightly", "path", "/a,b")
			size := newSummary("size_bytes", "job", "nightly")
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					mine := newCounter("failure_count", "job", "nightly", "worker", fmt.Sprint(w))
					for i := range pushes {
						count(s, newCounter("runs_total", "job", "nightly"), 1)
						count(s, mine, 0.5)
						observe(s, rows, float64(i%4))
						s.Add([]counter.Increment{{Series: size, Count: 2, Sum: 1 << 30}})
					}
				})
			}
			wg.Wait()
			const all = workers * pushes
			want := map[string]float64{
				`runs_total{job="nightly"}`:                               all,
				`dur_seconds_bucket{job="nightly",le="0.25",path="/a_b"}`: all / 4,
				`dur_seconds_bucket{job="nightly",le="1.0",path="/a_b"}`:  all / 2,
				`dur_seconds_bucket{job="nightly",le="2.5",path="/a_b"}`:  all * 3 / 4,
				`dur_seconds_bucket{job="nightly",le="+Inf",path="/a_b"}`: all,
				`dur_seconds_count{job="nightly",path="/a_b"}`:            all,
				`dur_seconds_sum{job="nightly",path="/a_b"}`:              all / 4 * 6,
				`size_bytes_count{job="nightly"}`:                         2 * all,
				`size_bytes_sum{job="nightly"}`:                           all << 30,
			}
			for w := range workers {
				want[fmt.Sprintf(`failure_count{job="nightly",worker="%d"}`, w)] = pushes / 2
			}
			settle(t, s, e, want)
			stop()
			eventually(t, "the exporter to read every line", func() bool {
				return e.Own(t, "statsd_exporter_lines_total") == metric(t, s, "lines_total")
			})
			for _, name := range []string{"statsd_exporter_sample_errors_total", "statsd_exporter_tag_errors_total", "statsd_exporter_events_error_total"} {
				if n := e.Own(t, name); n != 0 {
					t.Errorf("%s is %v", name, n)
				}
			}
		})
	}
}

func TestEveryTagStyleReachesTheExporter(t *testing.T) {
	for style := DogStatsD; style <= NoTags; style++ {
		t.Run(style.String(), func(t *testing.T) {
			t.Parallel()
			e := statsdtest.Start(t)
			c := fast(e, "unixgram")
			c.Tags, c.Prefix = style, "batch_"
			s := newSender(t, c)
			start(t, s)
			count(s, newCounter("a_total"), 1)
			count(s, newCounter("b_total", "path", "a:b=c#d[e]|f,g", "ü", "é"), 2)
			observe(s, newHistogram("h", []float64{1}, "k", "v"), 1)
			want := map[string]float64{"batch_a_total": 1}
			switch style {
			case NoTags:
				want["batch_b_total"] = 2
				want["batch_h_count"], want["batch_h_sum"] = 1, 1
			default:
				path := "a_b=c_d_e__f_g"
				if style == DogStatsD {
					path = "a:b=c#d[e]_f_g"
				}
				want[fmt.Sprintf(`batch_b_total{_="é",path=%q}`, path)] = 2
				want[`batch_h_bucket{k="v",le="1.0"}`], want[`batch_h_bucket{k="v",le="+Inf"}`] = 1, 1
				want[`batch_h_count{k="v"}`], want[`batch_h_sum{k="v"}`] = 1, 1
			}
			settle(t, s, e, want)
		})
	}
}

// A counter of one of the exporter's own names ends its /metrics, so none of
// them may be sent, nor what they would be called as a histogram.
func TestNoNameOfTheExporterIsSent(t *testing.T) {
	e := statsdtest.Start(t)
	families, err := e.Scrape()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) < 40 {
		t.Fatalf("the exporter exports only %d families", len(families))
	}
	s := newSender(t, Config{Address: e.Unixgram})
	for _, name := range slices.Sorted(maps.Keys(families)) {
		for _, src := range []*counter.Series{
			newCounter(name), newHistogram(name, nil), newSummary(name),
			newCounter(name + "_count"), newCounter(name + "_sum"), newCounter(name + "_bucket"),
			newCounter(strings.Replace(name, "_", ":", 1)), newCounter(strings.Replace(name, "_", ".", 2)),
		} {
			before := dropped(t, s, RefusedReserved)
			s.Add([]counter.Increment{{Series: src}})
			if dropped(t, s, RefusedReserved) != before+1 {
				t.Errorf("%q (%d) is taken", src.Name, src.Kind)
			}
		}
	}
	s = newSender(t, Config{Address: e.Unixgram, Prefix: "batch_"})
	s.Add([]counter.Increment{{Series: newCounter("go_goroutines")}})
	if n := dropped(t, s, RefusedReserved); n != 0 {
		t.Error("a prefix does not free the name")
	}
}
