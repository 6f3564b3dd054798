package main

import (
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// pushed is a model after two pushes of one group, and the page that it is.
func pushed() (*model, page) {
	m := newModel()
	first := post("a")
	first.gauge("x", 1)
	first.gauge("y", 2, "t", "1")
	m.write(first, 0)
	second := post("a")
	second.gauge("y", 3, "t", "2")
	m.write(second, 0)
	shown := page{seriesID("x", "job", "a"): 1, seriesID("y", "job", "a", "t", "2"): 3}
	for _, s := range stamps {
		shown[seriesID(s, "job", "a")] = 4
	}
	return m, shown
}

// TestCompare finds whatever is not as it was answered.
func TestCompare(t *testing.T) {
	x := seriesID("x", "job", "a")
	for _, tc := range []struct {
		name   string
		change func(*model, page)
		want   string // of one difference, empty for none
	}{
		{"as it was answered", func(*model, page) {}, ""},
		{"a series is missing", func(_ *model, p page) { delete(p, x) }, x},
		{"a value is old", func(_ *model, p page) { p[x] = 0 }, x},
		{"a family that was replaced stands", func(_ *model, p page) { p[seriesID("y", "job", "a", "t", "1")] = 2 }, "nobody pushed it"},
		{"a group nobody pushed", func(_ *model, p page) { p[seriesID(stamps[0], "job", "b")] = 2 }, "nobody pushed it"},
		{"a group without its stamp", func(_ *model, p page) { delete(p, seriesID(stamps[1], "job", "a")) }, stamps[1]},
		{"a refused push that stands", func(_ *model, p page) { p[seriesID("bad", "job", refusedJob+"1")] = 1 }, "nobody pushed it"},
		{"a refused push that is told as failed", func(_ *model, p page) { p[seriesID(stamps[1], "job", refusedJob+"1")] = 1 }, ""},
		{"lost with its Pushgateway", func(m *model, p page) { m.lose(); clear(p) }, ""},
		{"half of it lost", func(m *model, p page) { m.lose(); delete(p, x) }, ""},
		{"not lost, and another value", func(m *model, p page) { m.lose(); p[x] = 7 }, x},
		{"pushed after the loss, and not there", func(m *model, p page) {
			m.lose()
			o := post("a")
			o.gauge("x", 1)
			m.write(o, m.lost())
			delete(p, x)
		}, x},
		{"pushed across the loss, and not there", func(m *model, p page) {
			o := post("a")
			o.gauge("x", 1)
			began := m.lost()
			m.lose()
			m.write(o, began)
			delete(p, x)
		}, ""},
		{"settled, and lost after", func(m *model, p page) { m.lose(); m.settle(maps.Clone(p)); delete(p, x) }, x},
		{"settled as lost, and there", func(m *model, p page) { m.lose(); m.settle(page{}) }, "nobody pushed it"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, shown := pushed()
			tc.change(m, shown)
			got := m.compare(shown)
			if tc.want == "" && len(got) > 0 || tc.want != "" && !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("%q, want one of %q", got, tc.want)
			}
		})
	}
}

// TestWrite: a PUT replaces a group, a DELETE takes it away, and an eviction another.
func TestWrite(t *testing.T) {
	m, _ := pushed()
	put := post("a")
	put.method, put.gone = "PUT", "/metrics/job/b"
	put.gauge("z", 1)
	put.counts = page{"c": 2}
	m.groups[put.gone] = &group{}
	m.write(put, 0)
	if g := m.groups[put.path]; len(m.groups) != 1 || len(g.families) != 1 || m.totals["c"] != 2 {
		t.Errorf("after a PUT: %v, totals %v", m.groups, m.totals)
	}
	m.write(&op{method: "DELETE", path: put.path}, 0)
	if len(m.groups) != 0 {
		t.Errorf("after a DELETE: %v", m.groups)
	}
}

func TestParse(t *testing.T) {
	got, err := parse([]byte("# TYPE x gauge\nx{job=\"a\",instance=\"\"} 1\nh_bucket{le=\"1\"} 2\n"))
	if want := (page{seriesID("x", "job", "a"): 1, seriesID("h_bucket", "le", "1"): 2}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v %v, want %v", got, err, want)
	}
	for _, bad := range []string{"x 1\nx 2\n", "x{ 1\n"} {
		if got, err := parse([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if got := jobOf(seriesID("x", "a", "b", "job", "j", "k", "l")); got != "j" {
		t.Errorf("the job is %q", got)
	}
}

// TestProgram kills guards early and last, and in between only others.
func TestProgram(t *testing.T) {
	for _, length := range []time.Duration{time.Minute, time.Hour} {
		for _, gateway := range []bool{false, true} {
			faults := program(options{length: length}, gateway)
			turns := int(length / options{length: length}.every())
			kinds := map[string]bool{}
			for i, f := range faults {
				kinds[f.name] = true
				if want := i < turns/5 && i%2 == 1 || i == turns-1; f.kills != want {
					t.Errorf("%s: turn %d: %s", length, i, f.name)
				}
			}
			if len(faults) != turns || len(kinds) < 5 || gateway && len(kinds) < 8 {
				t.Errorf("%s: %d faults in %d turns: %v", length, len(faults), turns, kinds)
			}
		}
	}
}

// TestMemory takes the medians of one process alone.
func TestMemory(t *testing.T) {
	begun := time.Now()
	old, p := new(server.Process), new(server.Process)
	var w watch
	for i := range 100 {
		of, memory := p, int64(10)
		if i < 15 {
			of, memory = old, 1000
		}
		if i >= 80 {
			memory = 20 + int64(i%3)
		}
		w.samples = append(w.samples, sample{begun.Add(time.Duration(i) * time.Second), of, memory})
	}
	if second, last, err := w.memory(begun, 100*time.Second); second != 10 || last != 21 || err != nil {
		t.Errorf("%d and %d (%v), want 10 and 21", second, last, err)
	}
	w.samples = slices.DeleteFunc(w.samples, func(s sample) bool { return s.at.After(begun.Add(70 * time.Second)) })
	if _, _, err := w.memory(begun, 100*time.Second); err == nil {
		t.Error("a process that ended has a last fifth")
	}
	if err := flat(100<<20, 133<<20); err != nil {
		t.Error(err)
	}
	if flat(100<<20, 134<<20) == nil {
		t.Error("134 MiB after 100 are flat")
	}
}

// TestRelay hands on, to where the server is now, until it resets.
func TestRelay(t *testing.T) {
	r, err := newRelay()
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, name := range []string{"first", "second"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(name)) // and it stays open
			}
		}()
		r.to(l.Addr().String())
		c, err := net.Dial("tcp", r.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		got := make([]byte, len(name))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != name {
			t.Errorf("%q %v, want %s", got, err, name)
		}
		r.reset()
		if _, err := c.Read(got); err == nil || err == io.EOF {
			t.Errorf("after a reset: %v", err)
		}
	}
}
