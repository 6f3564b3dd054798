package counter

import (
	"bufio"
	"context"
	"fmt"
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
		fail(s.compact())
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
