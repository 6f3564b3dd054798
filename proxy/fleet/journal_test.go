package fleet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// childEnv names the directory that this binary moves groups with as the child of a test.
const childEnv = "PUSHGUARD_FLEET_CHILD"

// restarted is a fleet of these as one finds it that starts, and what ends it.
func restarted(t *testing.T, path string, cfg Config) (f *Fleet, end func()) {
	t.Helper()
	dir, err := state.Open(t.Context(), path, state.Options{Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if f, err = Open(dir, cfg); err != nil {
		t.Fatal(err)
	}
	return f, func() {
		t.Helper()
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}
}

// age is when a group was pushed to, and when a push of it failed.
type age struct{ pushed, failed time.Time }

func (a age) String() string { return fmt.Sprintf("%v (failed %v)", a.pushed, a.failed) }

// ages are those of what is listed, by the groups' IDs.
func ages(t *testing.T, list func(context.Context, uint64) ([]gateway.Group, error)) map[string]age {
	t.Helper()
	groups, err := list(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]age{}
	for _, g := range groups {
		out[g.Key.ID()] = age{g.Pushed, g.Failed}
	}
	return out
}

// TestAgeOutlivesRestarts: whoever starts later has a moved group be as old as before, on
// the page, too, and until it is pushed to. What is written anew says the same.
func TestAgeOutlivesRestarts(t *testing.T) {
	all, path := real(t, 3), t.TempDir()
	for _, g := range []string{"/job/a", "/job/b/run/1", "/job@base64/YS9i/none@base64/="} {
		send(t, all[2], http.MethodPost, g, "x 1\n", 200)
	}
	send(t, all[2], http.MethodPost, "/job/failed", "x 1 1\n", 400)
	cfg := Config{Staying: all[:2], Leaving: all[2:]}
	f, end := restarted(t, path, cfg)
	before, page := ages(t, f.Groups), pageOf(t, f)
	move(t, f)
	end()
	for round := range 3 {
		f, end = restarted(t, path, cfg)
		if after := ages(t, f.Groups); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("start %d: pushed at %v, before the move at %v", round, after, before)
		}
		if after := pageOf(t, f); fmt.Sprint(after) != fmt.Sprint(page) {
			t.Errorf("start %d: the page is\n%s\nbefore the move\n%s", round, after, page)
		}
		if err := f.journal.log.Compact(f.write); err != nil {
			t.Fatal(err)
		}
		end()
	}
	// A second move of a group is no push either.
	cfg = Config{Staying: all[2:], Leaving: all[:2]}
	f, end = restarted(t, path, cfg)
	list(t, f)
	move(t, f)
	end()
	f, end = restarted(t, path, cfg)
	defer end()
	if after := ages(t, f.Groups); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("pushed at %v, before the second move at %v", after, before)
	}
	send(t, all[2], http.MethodPost, "/job/a", "x 2\n", 200)
	for id, at := range ages(t, f.Groups) {
		if younger := at.pushed.After(before[id].pushed); younger != (wire.KeyOf(id).Job() == "a") {
			t.Errorf("%s was pushed to at %v, before at %v", wire.KeyOf(id), at, before[id])
		}
	}
}

// TestAgeOutlivesSilence: how old the groups are of one that does not tell stays known.
func TestAgeOutlivesSilence(t *testing.T) {
	all := []*fronted{front(t), front(t), front(t)}
	ups := []*gateway.Upstream{all[0].Upstream, all[1].Upstream, all[2].Upstream}
	for i := range 10 {
		send(t, ups[2], http.MethodPost, fmt.Sprint("/job/j", i), "x 1\n", 200)
	}
	f := New(Config{Staying: ups[:2], Leaving: ups[2:]})
	before := ages(t, f.Groups)
	move(t, f)
	silent := func(*http.Request) { panic(http.ErrAbortHandler) }
	all[0].before.Store(&silent)
	if _, err := f.Groups(t.Context(), 1); err == nil {
		t.Fatal("the one that is silent has told")
	}
	all[0].before.Store(nil)
	if after := ages(t, f.Groups); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("pushed at %v, before the move at %v", after, before)
	}
}

// TestAgeIsKeptOnceSeen looks at what is in the directory as Move returns, which has then
// seen each group where it belongs, and deleted none of the old copies.
func TestAgeIsKeptOnceSeen(t *testing.T) {
	all, path := real(t, 2), t.TempDir()
	for i := range 5 {
		send(t, all[1], http.MethodPost, fmt.Sprint("/job/j", i), "x 1\n", 200)
	}
	// On one processor nobody writes while Move goes on but who waits for that.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	f, end := restarted(t, path, Config{Staying: all[:1], Leaving: all[1:], Rest: time.Hour})
	defer end()
	list(t, f)
	move(t, f)
	kept, err := os.ReadFile(filepath.Join(path, "moved.1.log"))
	if err != nil || len(f.aged) != 5 {
		t.Fatalf("of 5 groups %d were seen, %v", len(f.aged), err)
	}
	for id, a := range f.aged {
		if !bytes.Contains(kept, appendAged(nil, id, a)) {
			t.Errorf("how old %s is, is not kept", wire.KeyOf(id))
		}
	}
}

// moveUntilKilled says of each group, once it is seen where it belongs, that it is.
func moveUntilKilled(path string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	dir, err := state.Open(context.Background(), path, state.Options{Sync: state.SyncNever})
	fail(err)
	var all []*gateway.Upstream
	for _, where := range os.Args[1:] {
		u, err := url.Parse(where)
		fail(err)
		upstream, err := gateway.New(gateway.Config{URL: u, Timeout: time.Minute})
		fail(err)
		all = append(all, upstream)
	}
	f, err := Open(dir, Config{Staying: all[:2], Leaving: all[2:]})
	fail(err)
	go f.Run(fail)
	go func() {
		for {
			fail(f.journal.log.Compact(f.write))
			time.Sleep(100 * time.Millisecond)
		}
	}()
	for said := map[string]bool{}; ; {
		_, err := f.Groups(context.Background(), 1)
		fail(err)
		f.Move(context.Background(), func(context.Context, wire.Key) (func(), bool) { return func() {}, true })
		f.mu.Lock()
		for id := range f.aged {
			if !said[id] {
				fmt.Printf("%q\n", id)
			}
			said[id] = true
		}
		f.mu.Unlock()
	}
}

// TestAgesOutliveKills kills at random moments a process that moves groups, over and over
// in one directory. What it had seen where it belongs is as old as before, whoever looks;
// what it had not is not older; and what was pushed to since is younger.
func TestAgesOutliveKills(t *testing.T) {
	all, path := real(t, 3), filepath.Join(t.TempDir(), "state")
	pushed, seen, younger := map[string]time.Time{}, map[string]bool{}, map[string]bool{}
	unseen := 0
	for round := range 8 {
		for i := range 20 {
			send(t, all[2], http.MethodPost, fmt.Sprintf("/job/j%d/round/%d", i, round), "x 1\n", 200)
		}
		for id, at := range ages(t, all[2].Groups) {
			if _, ok := pushed[id]; !ok {
				pushed[id] = at.pushed
			}
		}
		after := 200*time.Millisecond + rand.N(600*time.Millisecond)
		if round%2 == 0 { // once it says something
			after = time.Minute
		}
		for _, id := range moveAndKill(t, path, all, after) {
			seen[id] = true
		}
		f, end := restarted(t, path, Config{Staying: all[:2], Leaving: all[2:]})
		for id, at := range ages(t, f.Groups) {
			switch was, at := pushed[id], at.pushed; {
			case younger[id] && !at.After(was), at.Before(was):
				t.Errorf("%s is older than its push at %v: %v", wire.KeyOf(id), was, at)
			case younger[id]:
			case seen[id] && !at.Equal(was):
				t.Errorf("%s was seen where it belongs, and is pushed at %v, before at %v", wire.KeyOf(id), at, was)
			case !seen[id]:
				unseen++
			}
		}
		for id := range seen {
			if !younger[id] {
				younger[id] = true
				answer, err := f.Do(t.Context(), gateway.Request{Method: http.MethodPost, Key: wire.KeyOf(id), Body: []byte("x 2\n")})
				if !taken(answer, err) {
					t.Fatal(answer, err)
				}
				break
			}
		}
		end()
	}
	if len(seen) < 40 {
		t.Errorf("only %d groups were seen where they belong", len(seen))
	}
	t.Logf("%d of %d groups were seen where they belong, %d times one was looked at before", len(seen), len(pushed), unseen)
}

// moveAndKill lets a child move groups for a while, and returns those that it has seen
// where they belong. Once it has said so of some it is killed.
func moveAndKill(t *testing.T, path string, all []*gateway.Upstream, after time.Duration) (seen []string) {
	t.Helper()
	var where []string
	for _, u := range all {
		where = append(where, u.Name())
	}
	cmd := exec.Command(os.Args[0], where...)
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	enough := 1 + rand.IntN(20)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var id string
		if _, err := fmt.Sscanf(lines.Text(), "%q", &id); err != nil {
			t.Fatalf("the child said %q", lines.Text())
		}
		if seen = append(seen, id); len(seen) == enough {
			kill.Reset(0)
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	return seen
}

// FuzzAged: whatever a record says, no more than an age comes of it, and what was read is
// written as it was.
func FuzzAged(f *testing.F) {
	a := aged{stamp: 1.7e9, was: 1.6e9, pushed: time.Unix(1_600_000_000, 5)}
	f.Add(appendAged(nil, wire.NewKey().ID(), aged{}))
	f.Add(appendAged(nil, job(1).ID(), a))
	f.Add(append(appendAged(nil, job(1).ID(), a), 0))
	f.Fuzz(func(t *testing.T, record []byte) {
		fleet := New(Config{Staying: []*gateway.Upstream{{}}})
		if err := fleet.apply(record); err != nil {
			t.Fatal(err)
		}
		if len(fleet.aged) > 1 {
			t.Fatalf("one record tells of %v", fleet.aged)
		}
		for id, a := range fleet.aged {
			again := New(Config{Staying: []*gateway.Upstream{{}}})
			if err := again.apply(appendAged(nil, id, a)); err != nil || fmt.Sprint(again.aged) != fmt.Sprint(fleet.aged) {
				t.Errorf("%v is read again as %v, %v", fleet.aged, again.aged, err)
			}
		}
		fleet.relearn(nil, func(key wire.Key) bool { return strings.Contains(key.Job(), "1") })
	})
}
