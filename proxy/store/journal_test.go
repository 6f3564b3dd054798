package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// pushForEver is a guard that pushes and says of each push that it was answered.
func pushForEver(dir string) {
	d, err := state.Open(context.Background(), dir, state.Options{Wait: time.Minute})
	if err != nil {
		panic(err)
	}
	s, err := Open(Config{Dir: d})
	if err != nil {
		panic(err)
	}
	go s.Run(func(err error) { panic(err) })
	for n := 1; ; n++ {
		k := key("run", fmt.Sprint(n%5))
		method, body := http.MethodPut, fmt.Sprintf("x %d\n", n)
		switch n % 11 {
		case 3:
			method, body = http.MethodPost, fmt.Sprintf("x %d\ny{t=\"%d\"} %d\n", n, n%3, n)
		case 7:
			method = http.MethodDelete
		}
		if n%100 == 0 {
			if err := s.Compact(); err != nil {
				panic(err)
			}
		}
		if _, _, err := try(context.Background(), s, method, k, body); err != nil {
			panic(err)
		}
		// What is refused must not appear.
		if status, _, _ := try(context.Background(), s, http.MethodPost, k, "x{t=\"refused\"} 1\nx{t=\"refused\"} 1\n"); status != 400 {
			panic(status)
		}
		fmt.Println(n)
	}
}

// left is what the pushes up to n leave, of x alone.
func left(n int) map[string]int {
	out := map[string]int{}
	for i := 1; i <= n; i++ {
		if run := fmt.Sprint(i % 5); i%11 == 7 {
			delete(out, run)
		} else {
			out[run] = i
		}
	}
	return out
}

// kept is what a store has of x.
func kept(t testing.TB, s *Store) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, g := range s.pinGroups() {
		run, _ := g.key.Get("run")
		if f := g.content.find("x"); f != nil {
			text := string(f.appendText(nil, ""))
			n, err := strconv.Atoi(strings.TrimSpace(text[strings.LastIndexByte(text, ' '):]))
			if err != nil || strings.Contains(text, "refused") {
				t.Fatalf("%q: %v", text, err)
			}
			out[run] = n
		}
	}
	return out
}

// TestKilled: what was answered before the process is killed is there after it, and
// what was refused is not. PUSHGUARD_KILLS says how often; 100 by hand.
func TestKilled(t *testing.T) {
	t.Parallel()
	kills := 10
	if text := os.Getenv("PUSHGUARD_KILLS"); text != "" {
		kills, _ = strconv.Atoi(text)
	}
	for range kills {
		dir := t.TempDir()
		child := exec.Command(os.Args[0])
		child.Env, child.Stderr = append(os.Environ(), childEnv+"="+dir), os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		said, last := bufio.NewScanner(out), 0
		for until := 100 + rand.IntN(500); last < until && said.Scan(); {
			last, _ = strconv.Atoi(said.Text())
		}
		_ = child.Process.Kill()
		for said.Scan() {
			last, _ = strconv.Atoi(said.Text())
		}
		_ = child.Wait()
		s, end := openedDir(t, dir)
		got := kept(t, s)
		// The push after the last that was told of may have been taken, too.
		if diff := cmp.Diff(left(last), got); diff != "" && !cmp.Equal(left(last+1), got) {
			t.Errorf("after push %d (-want +got):\n%s", last, diff)
		}
		end()
	}
}

func TestRestore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, end := openedDir(t, dir)
	push(t, s, http.MethodPut, key("run", "1"), "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\",t=\"\\\"\\n\\\\\"} 2\nh_sum{t=\"\\\"\\n\\\\\"} 3\nh_count{t=\"\\\"\\n\\\\\"} 4\nx 1\n")
	push(t, s, http.MethodPut, key("run", "1"), "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\",t=\"\\\"\\n\\\\\"} 3\nh_sum{t=\"\\\"\\n\\\\\"} 4\nh_count{t=\"\\\"\\n\\\\\"} 5\nx 2\n")
	several := "# HELP h H.\n# TYPE h histogram\n"
	for _, v := range []string{"a", "b", "c"} {
		several += fmt.Sprintf("h_bucket{t=%[1]q,le=\"1\"} 1\nh_bucket{t=%[1]q,le=\"2\"} 2\nh_sum{t=%[1]q} 3\nh_count{t=%[1]q} 4\n", v)
	}
	push(t, s, http.MethodPut, key("run", "5"), several)
	push(t, s, http.MethodPut, key("run", "2"), "x{run=\"9\"} 5\ny{t=\"a\"} 1\n")
	push(t, s, http.MethodPost, key("run", "2"), "# TYPE x counter\nx 5\n") // refused
	push(t, s, http.MethodPut, key("run", "3"), "x 5\n")
	push(t, s, http.MethodDelete, key("run", "3"), "")
	want := page(t, s)
	end()
	for _, compacted := range []bool{false, true} {
		s, end := openedDir(t, dir)
		if compacted {
			if err := s.Compact(); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(sorted(want), sorted(page(t, s))); diff != "" {
			t.Errorf("compacted: %v (-before +after):\n%s", compacted, diff)
		}
		if status, _ := push(t, s, http.MethodPost, key("run", "4"), "# TYPE x counter\nx 5\n"); status != 400 {
			t.Error("the types of families are forgotten")
		}
		push(t, s, http.MethodDelete, key("run", "4"), "")
		end()
	}
}

// sorted are the lines of a page in an order of their own.
func sorted(page string) string {
	all := strings.Split(page, "\n")
	for i := range all {
		for j := i + 1; j < len(all); j++ {
			if all[j] < all[i] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return strings.Join(all, "\n")
}

// TestWhatTheDiskDoesNotTake stays in memory, and the store says so.
func TestWhatTheDiskDoesNotTake(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "state")
	d, err := state.Open(t.Context(), dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	s := opened(t, Config{Dir: d})
	push(t, s, http.MethodPut, key(), "x 1\n")
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); s.Err() == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store does not say that the disk takes nothing")
		}
	}
	if status, body := push(t, s, http.MethodPut, key(), "x 2\n"); status != 200 {
		t.Fatal(body)
	}
	if w := get(t, s.Proxy(), "/-/healthy"); w.Code != 200 || !strings.HasPrefix(w.Body.String(), "OK\nwhat is pushed is kept in memory alone: ") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := lines(t, s); !strings.Contains(got, "x{instance=\"\",job=\"a\"} 2\n") {
		t.Error(got)
	}
}

// TestFamilyThatMovesDuringCompaction: a compaction reads one group before a family
// leaves it, and another after it came there with another type.
func TestFamilyThatMovesDuringCompaction(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, end := openedDir(t, dir)
	from, to := key("run", "1"), key("run", "2")
	push(t, s, http.MethodPut, from, "# TYPE x gauge\nx 1\n")
	err := s.journal.log.Compact(func(write func([]byte) error) error {
		if err := write(appendWhole(nil, from, s.enteredContent(from))); err != nil {
			return err
		}
		push(t, s, http.MethodPut, from, "y 1\n")
		push(t, s, http.MethodPut, to, "# TYPE x counter\nx 1\n")
		return write(appendWhole(nil, to, s.enteredContent(to)))
	})
	if err != nil {
		t.Fatal(err)
	}
	end()
	s, end = openedDir(t, dir)
	defer end()
	if status, _ := push(t, s, http.MethodPut, from, "# TYPE x gauge\nx 1\n"); status != http.StatusBadRequest {
		t.Error("the type of x is forgotten")
	}
	for _, body := range []string{"z 1\n", "# TYPE x gauge\nx 1\n"} {
		if status, text := push(t, s, http.MethodPut, to, body); status != http.StatusOK {
			t.Errorf("%q: %d %s", body, status, text)
		}
	}
}

// enteredContent is what a group holds.
func (s *Store) enteredContent(key wire.Key) *content {
	g := s.enter(key)
	defer g.turn.Unlock()
	return g.content
}

// FuzzApply: a record that was not written by a store changes nothing or what it
// says, and never ends the process.
func FuzzApply(f *testing.F) {
	s := opened(f, Config{})
	push(f, s, http.MethodPut, key("run", "1"), "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_count 4\nx{a=\"b\"} 1\n")
	g := s.pinGroups()[0]
	whole := appendWhole(nil, g.key, g.content)
	f.Add(whole)
	f.Add(appendValues(nil, g.group))
	f.Add(appendText([]byte{recordGone}, g.key.ID()))
	f.Fuzz(func(t *testing.T, record []byte) {
		s := opened(t, Config{})
		if !s.apply(whole, &recent{}) {
			t.Fatal("a record of a store cannot be read")
		}
		s.apply(record, &recent{})
		page(t, s)
		for _, p := range s.pinGroups() {
			p.listed(1)
			p.object()
		}
	})
}

// rests counts how often it is told that what is left is to wait.
type rests int

// Rest is part of gateway.Turn.
func (r *rests) Rest() { *r++ }

// TestRests has a push say that it waits where it waits for the disk, and only there.
func TestRests(t *testing.T) {
	kept, end := openedDir(t, t.TempDir())
	defer end()
	synced, endSynced := openedSynced(t, t.TempDir(), state.SyncAlways)
	defer endSynced()
	for _, tc := range []struct {
		name string
		s    *Store
		want rests
	}{{"synced", synced, 2}, {"with a directory", kept, 0}, {"in memory", opened(t, Config{}), 0}} {
		var turn rests
		for _, method := range []string{http.MethodPut, http.MethodDelete} {
			r, err := request(method, key(), "a 1\n")
			if err != nil {
				t.Fatal(err)
			}
			r.Turn = &turn
			if _, err := tc.s.Do(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		if turn != tc.want {
			t.Errorf("%s: %d times, want %d", tc.name, turn, tc.want)
		}
	}
}

// TestMemoryOfRecords: that of a long record is not kept for others, as that of a short
// one is.
func TestMemoryOfRecords(t *testing.T) {
	s, end := openedDir(t, t.TempDir())
	defer end()
	for i := range 20 { // a pool forgets now and then
		push(t, s, http.MethodPut, key(), "a{t=\""+strings.Repeat("x", largestKept+i)+"\"} 1\n")
		if kept := *s.journal.records.Get().(*[]byte); cap(kept) > largestKept {
			t.Fatalf("%d bytes are kept of a record, want at most %d", cap(kept), largestKept)
		}
	}
	for range 1000 {
		push(t, s, http.MethodPut, key(), "a 1\n")
		if cap(*s.journal.records.Get().(*[]byte)) > 0 {
			return
		}
	}
	t.Error("the memory of a short record is not kept")
}

// TestAGroupTooLargeForTheState is refused, and costs no other group what it has on disk.
func TestAGroupTooLargeForTheState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, end := openedDir(t, dir)
	s.journal.longest = 2000
	help := func(n int) string { return fmt.Sprintf("# HELP h %s\nh 1\n", strings.Repeat("x", n)) }
	push(t, s, http.MethodPut, key(), "a 1\n")
	for _, method := range []string{http.MethodPut, http.MethodPost} {
		if status, text := push(t, s, method, key(), help(2000)); status != http.StatusBadRequest || !strings.Contains(text, "where the guard keeps its state, limit: 2000") {
			t.Errorf("%s: %d %s", method, status, text)
		}
	}
	for n, want := range []int{200, 200, 400} {
		if status, text := push(t, s, http.MethodPost, key("run", "1"), strings.ReplaceAll(help(700), "h ", fmt.Sprintf("h%d ", n))); status != want {
			t.Errorf("%d: %d %s", n, status, text)
		}
	}
	push(t, s, http.MethodPut, key("run", "2"), "b 1\n")
	if err := s.Err(); err != nil {
		t.Error(err)
	}
	want := page(t, s)
	end()
	s, end = openedDir(t, dir)
	defer end()
	if diff := cmp.Diff(sorted(want), sorted(page(t, s))); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// TestMostOfARecord holds what a record is taken for to what it is.
func TestMostOfARecord(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := opened(t, Config{})
		for n := range rapid.IntRange(0, 3).Draw(rt, "families") {
			label := rapid.StringMatching(`[a-c]{0,40}`)
			body := fmt.Sprintf("# HELP h%d %s\n# TYPE h%[1]d histogram\n", n, label.Draw(rt, "help"))
			for m := range rapid.IntRange(0, 3).Draw(rt, "metrics") {
				labels := fmt.Sprintf("a=%q,m=\"%d\"", label.Draw(rt, "label"), m)
				body += fmt.Sprintf("h%d_bucket{%s,le=\"1\"} 1\nh%[1]d_sum{%[2]s} 1\nh%[1]d_count{%[2]s} 1\nx%[1]d{%[2]s} 1\n", n, labels)
			}
			push(t, s, http.MethodPost, key(), body)
		}
		for _, p := range s.pinGroups() {
			is, exactly, roughly := len(appendWhole(nil, p.key, p.content)), mostOf(p.key, p.families, (*shape).exactly), mostOf(p.key, p.families, (*shape).roughly)
			if is > exactly || exactly > roughly {
				rt.Fatalf("%d bytes, at the most %d, roughly %d", is, exactly, roughly)
			}
		}
	})
}

// TestALostDeletion: where the log has lost that groups were deleted, what they held does
// not stand beside what contradicts it and came later, so that pages can be read.
func TestALostDeletion(t *testing.T) {
	t.Parallel()
	const histogram = "# TYPE x histogram\nx_bucket{le=\"+Inf\"} 2\nx_sum 3\nx_count 2\n"
	for name, tc := range map[string]struct{ before, after string }{
		"another type": {"# TYPE x gauge\nx 1\n", histogram},
		"its part":     {"# TYPE x_count gauge\nx_count 1\n", histogram},
		"the whole":    {histogram, "# TYPE x_count gauge\nx_count 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s, end := openedDir(t, dir)
			push(t, s, http.MethodPut, key("run", "1"), "y 1\n"+tc.before)
			push(t, s, http.MethodDelete, key("run", "1"), "")
			push(t, s, http.MethodPut, key("run", "2"), tc.after)
			end()
			path := filepath.Join(dir, "groups.1.log")
			log, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			gone := strings.LastIndex(string(log), string(appendText([]byte{recordGone}, key("run", "1").ID())))
			log[gone]++
			if err := os.WriteFile(path, log, 0o600); err != nil {
				t.Fatal(err)
			}
			want := opened(t, Config{})
			push(t, want, http.MethodPut, key("run", "1"), "y 1\n")
			push(t, want, http.MethodPut, key("run", "2"), tc.after)
			for range 2 {
				s, end = openedDir(t, dir)
				if diff := cmp.Diff(timeless(page(t, want)), timeless(page(t, s))); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				end()
			}
			s, end = openedDir(t, dir)
			defer end()
			push(t, s, http.MethodDelete, key("run", "2"), "")
			if status, body := push(t, s, http.MethodPut, key("run", "1"), tc.before); status != http.StatusOK {
				t.Errorf("what was contradicted is gone, and yet: %d %s", status, body)
			}
		})
	}
}

// timeless are the lines of a page, sorted, without those that tell times.
func timeless(page string) string {
	return regexp.MustCompile(`\n*push_time.*`).ReplaceAllString(sorted(page), "")
}

// TestStateOfOtherBuilds opens what builds of before have written, of which the last records
// have values alone: that of one which kept every line in full, and that of one which keeps of
// them what they do not have in common with the first.
func TestStateOfOtherBuilds(t *testing.T) {
	t.Parallel()
	want := opened(t, Config{})
	push(t, want, http.MethodPut, key("run", "1"), "# TYPE h histogram\nh_bucket{t=\"a\",le=\"1\"} 1\nh_bucket{t=\"a\",le=\"+Inf\"} 3\nh_sum{t=\"a\"} 3\nh_count{t=\"a\"} 3\n"+
		"# TYPE x gauge\nx{t=\"a\"} 3\nx{t=\"b\"} 13\n")
	for _, build := range []string{"early", "fronted"} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "state-"+build))); err != nil {
			t.Fatal(err)
		}
		s, end := openedDir(t, dir)
		if diff := cmp.Diff(timeless(page(t, want)), timeless(page(t, s))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", build, diff)
		}
		end()
	}
}
