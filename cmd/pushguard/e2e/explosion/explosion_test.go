package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

func TestMain(m *testing.M) { os.Exit(world.Main(m)) }

// small is a run that is over in seconds.
func small(t *testing.T) options {
	t.Helper()
	world.Need(t, world.PushgatewayPath)
	o, err := parse([]string{
		"-pushes=400", "-every=5ms", "-guard=" + world.Binary(t),
		"-policy=" + filepath.Join(world.Root(), "deploy", "policy.example.yml"), "-out=" + t.TempDir(),
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// The shipped policy holds what the plot shows, and a bare Pushgateway does not.
func TestGuardedStaysFlat(t *testing.T) {
	o := small(t)
	for _, a := range attacks {
		if a.where == "" {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			bare, err := measure(t.Context(), o, a, false)
			if err != nil {
				t.Fatal(err)
			}
			if got := bare.last().series; got < o.pushes {
				t.Errorf("bare: %d series after %d pushes, want one for each at least", got, o.pushes)
			}
			guarded, err := measure(t.Context(), o, a, true)
			if err != nil {
				t.Fatal(err)
			}
			// Three for each group of bodyLabel, and what the Pushgateway tells of itself.
			if got, most := guarded.last().series, 3*workers*o.pushers+100; got > most {
				t.Errorf("guarded: %d series, want at most %d", got, most)
			}
			for _, r := range []result{bare, guarded} {
				holds(t, o, r)
			}
			if f := guarded.fate; f.behind != 0 {
				t.Errorf("guarded: %d of %d readings without what had been accepted", f.behind, f.readings)
			}
		})
	}
}

// holds checks what is true of every run that is not stopped.
func holds(t *testing.T, o options, r result) {
	t.Helper()
	if r.pushes != o.pushes || r.stopped || r.last().pushes != o.pushes {
		t.Errorf("%s: %d pushes, stopped %t, want all %d", r.side(), r.pushes, r.stopped, o.pushes)
	}
	if f := r.fate; f.pushes == 0 || f.readings == 0 || f.missing() != 0 {
		t.Errorf("%s: the well-behaved job fared %+v", r.side(), f)
	}
	if r.first().gateway == 0 || r.last().guard != 0 != r.guarded {
		t.Errorf("%s: memory of the gateway %d, of the guard %d", r.side(), r.first().gateway, r.last().guard)
	}
}

func TestBoundStopsARun(t *testing.T) {
	o := small(t)
	o.bound = time.Nanosecond
	r, err := measure(t.Context(), o, attacks[0], false)
	if err != nil {
		t.Fatal(err)
	}
	if !r.stopped || r.pushes != 0 || len(r.rows) < 2 {
		t.Errorf("stopped %t after %d pushes with %d rows, want true, 0 and a first and a last", r.stopped, r.pushes, len(r.rows))
	}
}

// A neighbour whose pushes nobody takes must not look well.
func TestNeighbourTellsRefusals(t *testing.T) {
	o := small(t)
	s, err := raise(t.Context(), o, false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	n := &neighbour{url: s.gateway.URL + "/nowhere", every: o.every}
	client := newClient()
	defer client.CloseIdleConnections()
	n.push(t.Context(), client, time.Now())
	if f := n.fate(); f.pushes != 1 || f.missing() != 1 {
		t.Errorf("fared %+v, want one push, missing", f)
	}
	w := &witness{stage: s, neighbour: n, client: client}
	if _, shown, err := w.read(t.Context()); err != nil || shown {
		t.Errorf("shown %t, %v, want a page without the job", shown, err)
	}
}

func TestServerThatEndsEndsTheRun(t *testing.T) {
	o := small(t)
	s, err := raise(t.Context(), o, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	var progress atomic.Int64
	a := attack{name: "a push that kills", begin: func(int) func(int) request {
		return func(i int) request {
			if i == 10 {
				s.gateway.Kill()
			}
			return request{"/metrics/job/load", oneSample}
		}
	}}
	o.pushes = 1 << 30 // it is the end of the server that ends it
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	s.watch(ctx, cancel)
	assault(ctx, o, a, s.door(), &progress)
	if cause := context.Cause(ctx); cause == nil || !strings.Contains(cause.Error(), "pushgateway ended") {
		t.Errorf("the cause is %v, want that the pushgateway ended", cause)
	}
}

func TestRunWritesPlotAndTable(t *testing.T) {
	o := small(t)
	var stdout bytes.Buffer
	args := []string{"-pushes=40", "-every=5ms", "-guard=" + o.guard, "-policy=" + o.policy, "-out=" + o.out, "--", "--log.level=warn"}
	if err := run(t.Context(), args, &stdout, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"40 pushes of each attack", "the guard with --log.level=warn", "Pushgateway 1.", "unknown shape", "200: 40", "202: 40"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("the table does not say %q:\n%s", want, &stdout)
		}
	}
	svg, err := os.ReadFile(filepath.Join(o.out, "explosion.svg"))
	if err != nil {
		t.Fatal(err)
	}
	words := wellFormed(t, svg)
	for _, want := range []string{"in the grouping key", "in a body label", "in the job name", "pushes", "series on /metrics", "resident memory, MiB"} {
		if !strings.Contains(words, want) {
			t.Errorf("the plot does not say %q", want)
		}
	}
	file, err := os.Open(filepath.Join(o.out, "explosion.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil || len(rows) < 1+2*2*len(attacks) {
		t.Fatalf("%d rows, %v, want a first and a last of every run", len(rows), err)
	}
	if last := rows[len(rows)-1]; last[0] != "job name, unknown shape" || last[1] != "guarded" || last[2] != "40" {
		t.Errorf("the last row is %q", last)
	}
	for _, row := range rows[1:] {
		if series, err := strconv.Atoi(row[4]); err != nil || series == 0 {
			t.Errorf("%q: series %d, %v", row, series, err)
		}
	}
}

// wellFormed reads an XML and returns its words.
func wellFormed(t *testing.T, content []byte) string {
	t.Helper()
	var words strings.Builder
	for d := xml.NewDecoder(bytes.NewReader(content)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return words.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := token.(xml.CharData); ok {
			words.Write(s)
			words.WriteByte('\n')
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range [][]string{{"-pushes=0"}, {"-pushers=0"}, {"-every=0s"}, {"-bound=-1s"}, {"-nonsense"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
