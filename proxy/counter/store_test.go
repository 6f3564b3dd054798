package counter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state"
)

// openState opens a state directory until the test ends, or is closed before.
func openState(t testing.TB, path string) *state.Dir {
	t.Helper()
	dir, err := state.Open(context.Background(), path, state.Options{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func openStore(t testing.TB, dir *state.Dir, cfg Config) *Store {
	t.Helper()
	s, err := Open(dir, cfg, TotalsConfig{Now: cfg.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// contents is what a store holds, to be compared.
func contents(s *Store) map[string][]float64 {
	out := map[string][]float64{"watermark": {float64(s.Book.watermark.Load())}, "keys": {float64(s.Book.retries.keys.Len())}}
	for _, shard := range s.Book.shards {
		for slot := shard.oldest; slot != 0; slot = shard.at(slot).newer {
			b := shard.at(slot)
			out[fmt.Sprint(b.key, b.group)] = append([]float64{b.last}, shard.wide(slot)...)
		}
	}
	for _, f := range s.Totals.families {
		for _, to := range f.totals {
			out[fmt.Sprint(f.kind, f.name, f.help, to.labels, to.bounds, to.born, to.created, to.other)] = append([]float64{to.value, to.sum}, to.buckets...)
		}
	}
	return out
}

func commitTo(t testing.TB, s *Store, p Push, readings ...Reading) {
	t.Helper()
	var i Increments
	if err := s.Book.Difference(&i, readings, p); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), s.Totals); err != nil {
		t.Fatal(err)
	}
}

func TestAStoreIsAfterARestartWhatItWas(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	for _, compacts := range []bool{false, true, false} {
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now})
		began := c.now.UnixNano() + 1
		c.advance(time.Hour)
		helped := value("job=j", Created, began, 5)
		helped.Output = &Series{Name: "helped_total", Help: "Help.", Kind: Counter, Labels: labelsOf("job=j")}
		helped.Identity = identity("job=j", "helped_total", "")
		p := Push{Group: groupOf("job=j").Identity(), IdempotencyKey: fmt.Sprint(began)}
		commitTo(t, s, p, value("job=j", Created, began, 3), helped, took(Created, began, 4, 9, 1, 2, 3))
		narrower := took(Created, began, 4, 9, 1, 2, 3)
		narrower.Output = &Series{Name: "took_seconds", Kind: Histogram, Bounds: []float64{1, 3, 5}}
		p.IdempotencyKey = ""
		commitTo(t, s, p, narrower)
		commitTo(t, s, Push{Group: groupOf("job=gone").Identity()}, value("job=gone", Run, 0, 1))
		if err := s.Book.Forget(context.Background(), groupOf("job=gone").Identity()); err != nil {
			t.Fatal(err)
		}
		s.Totals.Add([]Increment{count("direct_total", "job=j", 1)})
		if compacts {
			if err := s.Compact(); err != nil {
				t.Fatal(err)
			}
			commitTo(t, s, p, value("job=j", Created, began, 4))
		}
		want := contents(s)
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
		dir = openState(t, path)
		got := openStore(t, dir, Config{Now: c.Now})
		if diff := cmp.Diff(want, contents(got)); diff != "" {
			t.Errorf("after a restart (-before +after):\n%s", diff)
		}
		// What began while the guard was away is not what it may have counted.
		if r := got.Book.first(&Reading{Source: Created, Began: c.now.UnixNano()}, false); r != First {
			t.Errorf("the first reading of a source is %v", r)
		}
		// To whoever scrapes, what was there is not new.
		if got := shownAt(got.Totals.Page(context.Background(), "a")); got == 0 {
			t.Error("a total from before is shown at zero")
		}
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBaselinesOfAnotherSecretAreDropped(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	for _, fresh := range []bool{false, true, false} {
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now, NewSecret: fresh})
		if fresh {
			if got := s.Book.Stats().Baselines; got != 0 {
				t.Errorf("%d baselines of the former secret are kept", got)
			}
			if got := totalOf(s.Totals, "failures_total", "job=j"); got != 5 {
				t.Errorf("the total is %v, want 5", got)
			}
			if got, want := s.Book.watermark.Load(), c.now.UnixNano(); got != want {
				t.Errorf("what began before %d may have been counted, want %d", got, want)
			}
		} else {
			commitTo(t, s, Push{Group: groupOf("job=j").Identity()}, value("job=j", Run, 0, 5))
		}
		if got := totalOf(s.Totals, "failures_total", "job=j"); math.Mod(got, 5) != 0 {
			t.Errorf("the total is %v", got)
		}
		c.advance(time.Hour)
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	dir := openState(t, path)
	if got := totalOf(openStore(t, dir, Config{Now: c.Now}).Totals, "failures_total", "job=j"); got != 10 {
		t.Errorf("the total is %v, want 10: the former baseline came back", got)
	}
}

// A commit that the disk does not take counts, and says so.
func TestACommitThatIsNotKeptSaysSo(t *testing.T) {
	c := newClock()
	path := t.TempDir()
	dir, err := state.Open(context.Background(), path, state.Options{Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir, Config{Now: c.Now})
	logs, err := filepath.Glob(filepath.Join(path, logName+".*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	if err := os.Remove(logs[0]); err != nil {
		t.Fatal(err)
	}
	for s.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	var i Increments
	if err := s.Book.Difference(&i, []Reading{value("job=j", Run, 0, 5)}, Push{Group: groupOf("job=j").Identity()}); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(context.Background(), s.Totals); err == nil {
		t.Error("a commit that is not kept has no error")
	}
	if got := shownAt(s.Totals.Page(context.Background(), "")); !math.IsNaN(got) {
		t.Errorf("x_total is %v", got)
	}
	var failures []error
	done := make(chan struct{})
	go func() {
		s.Run(func(err error) { failures = append(failures, err) })
		close(done)
	}()
	for s.Err() != nil {
		time.Sleep(time.Millisecond)
	}
	if err := dir.Close(); err != nil {
		t.Error(err)
	}
	<-done
	if len(failures) > 0 {
		t.Errorf("healing failed: %v", errors.Join(failures...))
	}
	dir = openState(t, path)
	if got := totalOf(openStore(t, dir, Config{Now: c.Now}).Totals, "failures_total", "job=j"); got != 5 {
		t.Errorf("once it is healed the total is %v, want 5", got)
	}
}

const loadGroups = 8

// loaded is a push of one of the groups of the load, at v: one total of its own
// and one that all share.
func loaded(group int, began int64, v float64) (Push, []Reading) {
	name := fmt.Sprintf("job=j,group=%d", group)
	read := func(family, output string) Reading {
		return Reading{Identity: identity(name, family, ""), Source: Created, Began: began, Output: series(family, output), Value: v}
	}
	return Push{Group: groupOf(name).Identity()}, []Reading{read("own_total", name), read("all_total", "job=j")}
}

// checkLoad fails unless totals and baselines agree: the total of each group is
// its last value, and that of all is the sum.
func checkLoad(t *testing.T, s *Store, began int64, least []float64) []float64 {
	t.Helper()
	values, sum := make([]float64, loadGroups), 0.0
	for group := range loadGroups {
		push, readings := loaded(group, began, 0)
		shard := s.Book.shardOf(groupHash(push.Group))
		for n, r := range readings {
			last := 0.0
			if slot := shard.find(baselineKey(&r)); slot != 0 {
				last = shard.at(slot).last
			}
			if n == 0 {
				values[group] = last
				if own := totalOf(s.Totals, "own_total", fmt.Sprintf("job=j,group=%d", group)); own != last && last != 0 {
					t.Fatalf("group %d has a total of %v and a baseline of %v", group, own, last)
				}
			} else if last != values[group] {
				t.Fatalf("group %d has baselines of %v and %v", group, values[group], last)
			}
		}
		if values[group] < least[group] {
			t.Fatalf("group %d is at %v, but %v was acknowledged", group, values[group], least[group])
		}
		sum += values[group]
	}
	if all := totalOf(s.Totals, "all_total", "job=j"); all != sum && sum != 0 {
		t.Fatalf("the total of all is %v, the groups' %v are %v", all, values, sum)
	}
	return values
}

// Whatever is cut off the end of the log, baselines and totals agree.
func TestThePowerMayFail(t *testing.T) {
	c := newClock()
	began := c.now.UnixNano() + 1
	path := t.TempDir()
	dir := openState(t, path)
	s := openStore(t, dir, Config{Now: c.Now})
	var all sync.WaitGroup
	for group := range loadGroups {
		all.Go(func() {
			for v := 1.0; v <= 50; v++ {
				p, readings := loaded(group, began, v)
				commitTo(t, s, p, readings...)
			}
		})
	}
	all.Wait()
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	log := ""
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(path, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if files[e.Name()] = content; strings.HasSuffix(e.Name(), ".log") {
			log = e.Name()
		}
	}
	var seen []float64
	for cut := 0; cut < len(files[log])-64; cut += len(files[log])/60 + 7 {
		path := t.TempDir()
		for name, content := range files {
			if name == log {
				content = content[:len(content)-cut]
			}
			if err := os.WriteFile(filepath.Join(path, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		dir := openState(t, path)
		s := openStore(t, dir, Config{Now: c.Now})
		sum := 0.0
		for group, v := range checkLoad(t, s, began, make([]float64, loadGroups)) {
			sum += v
			p, readings := loaded(group, began, 50) // the clients go on
			commitTo(t, s, p, readings...)
		}
		if got := totalOf(s.Totals, "all_total", "job=j"); got != 50*loadGroups {
			t.Errorf("with %d bytes less the total ends at %v, want %d", cut, got, 50*loadGroups)
		}
		seen = append(seen, sum)
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(slices.Compact(seen)) < 20 || seen[0] != 50*loadGroups {
		t.Errorf("the cuts were no test: %v", seen)
	}
}

const childEnv = "PUSHGUARD_COUNTER_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		push(strings.Split(args, ","))
	}
	os.Exit(m.Run())
}

// push is the child: it counts on in all groups from where they are, compacts all
// the while, and says what was committed, until it is killed.
func push(args []string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	began, err := strconv.ParseInt(args[1], 10, 64)
	fail(err)
	dir, err := state.Open(context.Background(), args[0], state.Options{Wait: time.Minute})
	fail(err)
	s, err := Open(dir, Config{}, TotalsConfig{})
	fail(err)
	for group := range loadGroups {
		v, err := strconv.ParseFloat(args[2+group], 64)
		fail(err)
		go func() {
			for {
				v++
				p, readings := loaded(group, began, v)
				var i Increments
				fail(s.Book.Difference(&i, readings, p))
				fail(i.Commit(context.Background(), s.Totals))
				_, err := fmt.Printf("%d %v\n", group, v)
				fail(err)
			}
		}()
	}
	for {
		fail(s.Compact())
	}
}

// After kill -9 and the retries of what was not acknowledged, totals are the
// truth, to the last increment.
func TestKilled(t *testing.T) {
	path := t.TempDir()
	began := time.Now().Add(time.Second).UnixNano()
	values := make([]float64, loadGroups)
	for round := range 8 {
		args := []string{path, strconv.FormatInt(began, 10)}
		for _, v := range values {
			args = append(args, strconv.FormatFloat(v, 'f', -1, 64))
		}
		for group, v := range killed(t, strings.Join(args, ","), 200*(round+1)) {
			values[group] = v
		}
		dir := openState(t, path)
		s := openStore(t, dir, Config{})
		checkLoad(t, s, began, values)
		for group := range values {
			values[group]++ // the push that was under way, maybe committed, is sent again
			p, readings := loaded(group, began, values[group])
			commitTo(t, s, p, readings...)
		}
		if diff := cmp.Diff(values, checkLoad(t, s, began, values)); diff != "" {
			t.Fatalf("round %d: after the retries (-truth +got):\n%s", round, diff)
		}
		if err := dir.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killed runs a child, kills it after so many commits, and returns the last
// value of each group that it had said.
func killed(t *testing.T, args string, after int) map[int]float64 {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+args)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := map[int]float64{}
	n := 0
	for lines := bufio.NewScanner(out); lines.Scan(); n++ {
		var group int
		var v float64
		if _, err := fmt.Sscan(lines.Text(), &group, &v); err != nil {
			continue // it was cut short
		}
		last[group] = v
		if n == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = cmd.Wait()
	if n < after || stderr.Len() > 0 {
		t.Fatalf("the child ended after %d commits: %s", n, stderr.String())
	}
	return last
}

// FuzzUnit applies whatever is in a log: it is refused or applied, and what was
// applied is written and read again as it is.
func FuzzUnit(f *testing.F) {
	c := newClock()
	dir, err := state.Open(context.Background(), f.TempDir(), state.Options{})
	if err != nil {
		f.Fatal(err)
	}
	s := openStore(f, dir, Config{Now: c.Now})
	commitTo(f, s, Push{Group: groupOf("job=j").Identity(), IdempotencyKey: "k"}, value("job=j", Created, 7, 3), took(Run, 0, 4, 9, 1, 2, 3))
	whole := everything(s)
	if err := dir.Close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(slices.Clone(whole), recordAnew, recordForgotten, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add([]byte{recordBaseline})
	f.Add([]byte{recordTotal, 1})
	f.Add([]byte{'?'})
	f.Fuzz(func(t *testing.T, unit []byte) {
		s := restored(t, unit)
		if s == nil {
			return
		}
		again := restored(t, everything(s))
		if again == nil {
			t.Fatal("what was written cannot be read")
		}
		want, got := contents(s), contents(again)
		for _, m := range []map[string][]float64{want, got} {
			maps.DeleteFunc(m, func(_ string, vs []float64) bool { return slices.ContainsFunc(vs, math.IsNaN) })
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("written and read again (-want +got):\n%s", diff)
		}
	})
}

// everything is a snapshot in one unit.
func everything(s *Store) []byte {
	var all []byte
	w := snapshot{write: func(unit []byte) error { all = append(all, unit...); return nil }}
	w.everything(s.Book, s.Totals)
	return all
}

// restored is what a unit makes, nil if it is refused.
func restored(t *testing.T, unit []byte) *Store {
	c := newClock()
	s := &Store{Book: NewBook(Config{Now: c.Now}), Totals: NewTotals(TotalsConfig{Now: c.Now})}
	s.Book.watermark.Store(0)
	r := restorer{book: s.Book, totals: s.Totals, births: map[uint64]*total{}}
	if r.apply(unit) != nil {
		return nil
	}
	s.Totals.Page(context.Background(), "").Families()
	return s
}

// A million baselines are read from the disk; the goal is below three seconds.
func BenchmarkOpenMillionBaselines(b *testing.B) {
	const groups, each = 100_000, 10
	path := b.TempDir()
	dir := openState(b, path)
	s := openStore(b, dir, Config{Baselines: 2 * groups * each})
	output := series("x_total", "job=j")
	readings := make([]Reading, each)
	var i Increments
	for g := range uint64(groups) {
		for n := range readings {
			at := g*each + uint64(n)
			readings[n] = Reading{Identity: Identity{mix(at + 1<<41), mix(at + 1<<42)}, Source: Run, Output: output, Value: 1}
		}
		if err := s.Book.Difference(&i, readings, Push{Group: Identity{mix(g), mix(g + 1<<40)}}); err != nil {
			b.Fatal(err)
		}
		i.commit(s.Totals, s.Book.clock())
	}
	if err := s.Compact(); err != nil {
		b.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		dir := openState(b, path)
		s := openStore(b, dir, Config{Baselines: 2 * groups * each})
		if got := s.Book.Stats().Baselines; got != groups*each {
			b.Fatalf("%d baselines", got)
		}
		if err := dir.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// The way of one push to the disk, alone and among many.
func BenchmarkCommitToDisk(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(strconv.Itoa(parallel), func(b *testing.B) {
			dir := openState(b, b.TempDir())
			s := openStore(b, dir, Config{})
			b.SetParallelism(parallel)
			b.ReportAllocs()
			var group sync.Mutex
			next := 0
			b.RunParallel(func(pb *testing.PB) {
				group.Lock()
				next++
				name := fmt.Sprintf("job=j,group=%d", next)
				readings, p := known(b, s.Book, name, counting)
				group.Unlock()
				var i Increments
				for pb.Next() {
					for n := range readings {
						readings[n].Value++
					}
					if err := s.Book.Difference(&i, readings, p); err != nil {
						b.Error(err)
					}
					if err := i.Commit(context.Background(), s.Totals); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
