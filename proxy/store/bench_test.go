package store

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"

	"github.com/pushguard/pushguard/proxy/state"
)

// fill has a store hold a million series in 100,000 groups of one shape.
func fill(b *testing.B, s *Store) {
	b.Helper()
	for i := range 100_000 {
		var body strings.Builder
		body.WriteString("# TYPE rows_loaded gauge\n")
		for n := range 10 {
			fmt.Fprintf(&body, "rows_loaded{region=\"eu-west-1\",status=\"ok\",table=\"table_%d\"} %d\n", n, i+n)
		}
		push(b, s, http.MethodPut, key("run_id", fmt.Sprint("r", i)), body.String())
	}
}

// BenchmarkRestoreMillion is the start of a store with a million series on disk.
func BenchmarkRestoreMillion(b *testing.B) {
	dir := b.TempDir()
	open := func() (*Store, *state.Dir) {
		d, err := state.Open(b.Context(), dir, state.Options{Sync: state.SyncNever})
		if err != nil {
			b.Fatal(err)
		}
		return opened(b, Config{Dir: d}), d
	}
	s, d := open()
	fill(b, s)
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, d := open()
		if groups, series, shapes := s.sizes(); groups != 100_000 || series != 1_000_000 || shapes != 1 {
			b.Fatal(groups, series, shapes)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPage is a page of a million series, as text.
func BenchmarkPage(b *testing.B) {
	s := opened(b, Config{})
	fill(b, s)
	b.ReportAllocs()
	for b.Loop() {
		out := bufio.NewWriterSize(io.Discard, pageBuffer)
		page := s.Pin()
		for _, name := range page.Families() {
			if err := page.Write(b.Context(), out, name, expfmt.NewFormat(expfmt.TypeTextPlain)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/1.2e6, "ns/series")
}

// BenchmarkBesideALargeGroup pushes series that a group of as many could have.
func BenchmarkBesideALargeGroup(b *testing.B) {
	for _, n := range []int{100, 1000, 4000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			s := opened(b, Config{})
			push(b, s, http.MethodPost, key("run", "1"), manySeries(n, ""))
			body := manySeries(n, "run=\"1\",own=\"a\",")
			b.ReportAllocs()
			for b.Loop() {
				push(b, s, http.MethodPost, key(), body)
			}
		})
	}
}

// BenchmarkKept pushes 100 series again and again: to memory alone, and to a directory.
func BenchmarkKept(b *testing.B) {
	r, err := request(http.MethodPut, key("run", "1"), manySeries(100, ""))
	if err != nil {
		b.Fatal(err)
	}
	dir, end := openedDir(b, b.TempDir())
	defer end()
	for name, s := range map[string]*Store{"memory": opened(b, Config{}), "directory": dir} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if a, err := s.Do(b.Context(), r); err != nil || a.Status != http.StatusOK {
					b.Fatal(a.Status, err)
				}
			}
		})
	}
}
