package state

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const workers = 4

// progress is what a worker has done: it sets a and b to the next number, as
// one, again and again.
type progress struct {
	mu   sync.Mutex
	a, b int
}

// work restores what earlier children did and goes on with it under constant
// compaction, until it is killed. It writes a line for all that is committed.
func work(args []string) {
	var s Sync
	must(s.Set(args[1]))
	d, err := Open(context.Background(), args[0], Options{Sync: s, Interval: 5 * time.Millisecond, Wait: time.Minute})
	must(err)
	var state [workers]progress
	l, err := d.Log("work", LogOptions{}, func(record []byte) error {
		return apply(&state, string(record))
	})
	must(err)
	var out sync.Mutex
	for i := range state {
		go func() {
			for {
				n, p := state[i].next(l, i)
				must(l.Commit(context.Background(), p))
				out.Lock()
				fmt.Printf("%d %d\n", i, n)
				out.Unlock()
			}
		}()
	}
	for range time.Tick(time.Millisecond) {
		must(l.Compact(func(write func([]byte) error) error {
			for i := range state {
				must(write(state[i].record(i, "a")))
				must(write(state[i].record(i, "b")))
			}
			return nil
		}))
	}
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (p *progress) next(l *Log, i int) (int, Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.a++
	p.b++
	return p.a, l.Append(fmt.Appendf(nil, "l %d a %d", i, p.a), fmt.Appendf(nil, "l %d b %d", i, p.b))
}

// record is what a snapshot says of a worker.
func (p *progress) record(i int, which string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.a
	if which == "b" {
		n = p.b
	}
	return fmt.Appendf(nil, "s %d %s %d", i, which, n)
}

func apply(state *[workers]progress, record string) error {
	var from, which string
	var i, n int
	if _, err := fmt.Sscanf(record, "%s %d %s %d", &from, &i, &which, &n); err != nil {
		return err
	}
	if which == "a" {
		state[i].a = n
	} else {
		state[i].b = n
	}
	return nil
}

// TestKill kills at random moments a process that appends and compacts, over
// and over in one directory.
func TestKill(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncAlways} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			var acked [workers]int
			const rounds = 40
			for round := range rounds {
				c := start(t, "work", dir, s.String())
				var out []byte
				if round%4 > 0 { // else it may be killed while it restores
					out = []byte(c.line(t))
				}
				time.Sleep(rand.N(30 * time.Millisecond))
				readAcks(t, append(out, c.kill(t)...), &acked)
				checkWork(t, dir, &acked)
			}
			if all := acked[0] + acked[1] + acked[2] + acked[3]; all < rounds/2 {
				t.Errorf("only %d commits", all)
			}
			if got := files(t, dir, ".snapshot"); len(got) != 1 || got[0] == "work.1.snapshot" {
				t.Errorf("snapshots %q", got)
			}
		})
	}
}

// readAcks ignores a last line without an end.
func readAcks(t *testing.T, out []byte, acked *[workers]int) {
	t.Helper()
	for line := range bytes.Lines(out) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			return
		}
		var i, n int
		if _, err := fmt.Sscanf(string(line), "%d %d", &i, &n); err != nil {
			t.Fatalf("the child wrote %q: %v", line, err)
		}
		if n != acked[i]+1 && acked[i] > 0 && n <= acked[i] {
			t.Fatalf("worker %d went back from %d to %d", i, acked[i], n)
		}
		acked[i] = n
	}
}

// checkWork restores what the child left: all that was committed is there, in
// order, none twice, and each append whole or absent.
func checkWork(t *testing.T, dir string, acked *[workers]int) {
	t.Helper()
	records, damage := restored(t, dir, "work")
	var state [workers]progress
	var logged [workers]int
	for i, record := range records {
		part := strings.Fields(record)
		worker, n := number(t, part[1]), number(t, part[3])
		if part[0] == "l" && part[2] == "a" {
			was := max(logged[worker], state[worker].a)
			if logged[worker] > 0 && n != logged[worker]+1 || logged[worker] == 0 && n > was+1 {
				t.Fatalf("worker %d: %d after %d", worker, n, was)
			}
			logged[worker] = n
			if want := fmt.Sprintf("l %d b %d", worker, n); i+1 == len(records) || records[i+1] != want {
				t.Fatalf("%q without %q behind it", record, want)
			}
		}
		if err := apply(&state, record); err != nil {
			t.Fatal(err)
		}
	}
	for i := range state {
		if state[i].a != state[i].b || state[i].a < acked[i] {
			t.Fatalf("worker %d: a %d, b %d, committed %d", i, state[i].a, state[i].b, acked[i])
		}
	}
	for _, g := range damage { // a write that was cut short is no more than its end
		if g.Places != 1 || g.Early {
			t.Errorf("damage: %v", g)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
