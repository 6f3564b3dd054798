package ledger

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

// childEnv names the directory that this binary works on as a child of a test,
// and the first version that it pushes.
const childEnv = "PUSHGUARD_LEDGER_CHILD"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		first, _ := strconv.Atoi(os.Args[1])
		pushUntilKilled(path, first)
	}
	os.Exit(m.Run())
}

const (
	crashWorkers = 4
	crashGroups  = 5 // of each worker
)

func crashKey(group int) wire.Key { return key("job", fmt.Sprint(group%3), "group", fmt.Sprint(group)) }

// version is what a group is told at a version: to hold some series, or to go.
func version(group, v int) Claim {
	k := crashKey(group)
	if v%7 == 6 {
		return Claim{Group: k, Raw: k, Method: http.MethodDelete}
	}
	c := push(http.MethodPut, k, Budget{}, fmt.Sprint(v), fmt.Sprint("and ", v))
	c.Metrics[1].Samples = 3
	return c
}

// pushUntilKilled says of each version, once it is committed, that it is.
func pushUntilKilled(path string, first int) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
	dir, err := state.Open(context.Background(), path, state.Options{Sync: state.SyncNever})
	fail(err)
	b, _, err := Open(dir, Config{Secret: secret})
	fail(err)
	go b.Run(fail)
	go func() {
		for {
			fail(b.Compact())
			time.Sleep(5 * time.Millisecond)
		}
	}()
	var out sync.Mutex
	for w := range crashWorkers {
		go func() {
			for v := first; ; v++ {
				for n := range crashGroups {
					group := w*crashGroups + n
					g, err := b.Admit(context.Background(), version(group, v))
					fail(err)
					g.Settle(Applied)
					fail(b.Commit(context.Background()))
					out.Lock()
					fmt.Println(group, v)
					out.Unlock()
				}
			}
		}()
	}
	select {}
}

// TestKilled kills a process in the midst of it, again and again, and looks at
// what the next one finds: of each group the version that was committed last, or
// the one that came after.
func TestKilled(t *testing.T) {
	path, last := t.TempDir(), map[int]int{}
	for round := range 25 {
		first := round * 1_000_000
		cmd := exec.Command(os.Args[0], strconv.Itoa(first))
		cmd.Env = append(os.Environ(), childEnv+"="+path)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stdout)
		for n, kill := 0, 1+rand.IntN(400); lines.Scan(); n++ {
			var group, v int
			if _, err := fmt.Sscan(lines.Text(), &group, &v); err != nil {
				t.Fatalf("the child said %q", lines.Text())
			}
			last[group] = v
			if n == kill {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		checkKilled(t, path, last, first)
	}
}

func checkKilled(t *testing.T, path string, last map[int]int, first int) {
	t.Helper()
	k := openKept(t, path, newHand())
	defer k.close()
	for group, v := range last {
		next := max(v+1, first)
		switch {
		case k.holds(group, v):
		case k.holds(group, next):
			last[group] = next
		default:
			t.Errorf("group %d was at version %d, and is neither at that nor at %d", group, v, next)
		}
	}
	if d := k.dir.Damage(); len(d) > 1 { // the last frame may be torn
		t.Errorf("%v", d)
	}
}

// holds reports whether the group is at a version.
func (k *keptBook) holds(group, v int) bool {
	c := version(group, v)
	if c.Method == http.MethodDelete {
		return !k.Has(c.Group)
	}
	c.Budget = Budget{Series: 1} // what is new does not fit
	r, err := k.Peek(c)
	use, exists := k.Group(c.Group)
	return err == nil && r.Trimmed == nil && exists && use.Series == 6
}
