package state

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"
)

// children are the parts that the test binary plays.
var children = map[string]func(args []string){
	"own":  own,
	"work": work,
}

// own takes a directory and keeps it.
func own(args []string) {
	d, err := Open(context.Background(), args[0], Options{})
	must(err)
	fmt.Println("mine")
	for { // with nothing to wait for the runtime would end the process
		time.Sleep(time.Hour)
		runtime.KeepAlive(d)
	}
}

// child is this binary in another process.
type child struct {
	cmd *exec.Cmd
	out *bufio.Reader
}

func start(t *testing.T, part string, args ...string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childEnv+"="+part)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return &child{cmd, bufio.NewReader(out)}
}

// line returns the next line that the child writes.
func (c *child) line(t *testing.T) string {
	t.Helper()
	line, err := c.out.ReadString('\n')
	if err != nil {
		t.Fatalf("the child wrote %q: %v", line, err)
	}
	return line
}

// kill ends the child and returns what it had written.
func (c *child) kill(t *testing.T) []byte {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(c.out)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait()
	return rest
}
