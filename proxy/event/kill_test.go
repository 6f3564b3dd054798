package event

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

// nowhere is an event log that is away.
const nowhere = "loki+http://127.0.0.1:1"

// addForEver is a guard that adds records, delivers them, and says of each how far
// they are kept.
func addForEver(dir, target, first, begun string) {
	d, err := state.Open(context.Background(), dir, state.Options{Wait: within})
	if err != nil {
		panic(err)
	}
	l, err := Open(Config{Dir: d, Targets: []Target{{URL: target}}, Limits: Limits{Disk: 2 << 30}})
	if err != nil {
		panic(err)
	}
	go func() { _ = l.Run(context.Background()) }()
	n, err := strconv.Atoi(first)
	if err != nil {
		panic(err)
	}
	since, err := strconv.ParseInt(begun, 10, 64)
	if err != nil {
		panic(err)
	}
	for ; ; n++ {
		kind := []Kind{Snapshot, TaskState, Rejected}[n%3]
		l.Add(Record{ID: id(n), Time: time.Unix(0, since+int64(n)), Kind: kind, Job: "a"})
		if err := l.Commit(context.Background()); err != nil {
			panic(err)
		}
		fmt.Println(n)
	}
}

// child is a process that adds records.
type child struct {
	cmd   *exec.Cmd
	out   *bufio.Scanner
	added int // as far as it says
}

func startChild(t testing.TB, dir, target string, begun time.Time, first int) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childEnv+"="+dir, targetEnv+"="+target, firstEnv+"="+strconv.Itoa(first), begunEnv+"="+strconv.FormatInt(begun.UnixNano(), 10))
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	return c
}

// until waits until the child has added so many.
func (c *child) until(t testing.TB, n int) {
	t.Helper()
	for c.added < n && c.out.Scan() {
		c.added, _ = strconv.Atoi(c.out.Text())
	}
	if c.added < n {
		t.Fatalf("the child ended after %d records", c.added)
	}
}

// kill ends the child and returns how many it has added.
func (c *child) kill() int {
	_ = c.cmd.Process.Kill()
	for c.out.Scan() {
		c.added, _ = strconv.Atoi(c.out.Text())
	}
	_ = c.cmd.Wait()
	return c.added
}

// TestKilled: what was committed when the process is killed is delivered, in its
// order, by the next one.
func TestKilled(t *testing.T) {
	t.Parallel()
	dir, kept := t.TempDir(), 0
	for range 5 {
		c := startChild(t, dir, nowhere, noon, 1)
		c.until(t, 200)
		kept += c.kill()
	}
	d, err := state.Open(t.Context(), dir, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	l, err := Open(Config{Dir: d, Targets: []Target{{URL: nowhere}}, Limits: Limits{Disk: 2 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	got := drained(t, l.shippers[0].queue, true)
	// Each child may have kept one more than it could tell.
	if len(got) < kept || len(got) > kept+5 {
		t.Errorf("%d records come, told of were %d", len(got), kept)
	}
	number, children := 0, 0
	for _, line := range got {
		switch {
		case strings.Contains(line, id(number+1).String()):
			number++
		case strings.Contains(line, id(1).String()):
			number = 1
			children++
		default:
			t.Fatalf("%s comes behind record %d of child %d", line, number, children)
		}
	}
}
