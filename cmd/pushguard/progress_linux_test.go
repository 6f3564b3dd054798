package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal returns a real one and what reads, once it is closed, what was written
// to it.
func terminal(t *testing.T) (tty *os.File, shown func() string) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatalf("no terminal can be made; mount devpts at /dev/pts: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := make(chan string, 1)
	go func() {
		b, _ := io.ReadAll(screen) // ends with EIO once the other end is closed
		all <- string(b)
	}()
	return tty, func() string {
		_ = tty.Close()
		return <-all
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for _, tc := range []struct {
		name  string
		total int
	}{{"of a known number", 3}, {"of an unknown number", -1}} {
		t.Run(tc.name, func(t *testing.T) {
			tty, shown := terminal(t)
			p := startProgress(tty, "deleting", tc.total)
			p.add(1)
			fmt.Fprintln(p.above(tty), "deleted a")
			p.add(1)
			p.end()
			fmt.Fprintln(tty, "the end")
			got := shown()
			if !strings.Contains(got, "deleting") {
				t.Errorf("no progress in %q", got)
			}
			for _, line := range []string{"deleted a", "the end"} {
				if !strings.Contains(got, "\r"+line+"\r\n") {
					t.Errorf("%q has no line of its own: %q", line, got)
				}
			}
		})
	}
}

func TestProgressNowhereElse(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	t.Setenv("TERM", "dumb")
	tty, shown := terminal(t)
	var buffer bytes.Buffer
	for name, stderr := range map[string]io.Writer{"a file": file, "a buffer": &buffer, "a dumb terminal": tty} {
		p := startProgress(stderr, "reading", 3)
		if p != nil {
			t.Errorf("%s is shown progress", name)
		}
		p.add(1)
		if got, err := io.ReadAll(p.reader(strings.NewReader("abc"))); string(got) != "abc" || err != nil {
			t.Errorf("%s: read %q, %v", name, got, err)
		}
		fmt.Fprint(p.above(stderr), "line")
		p.end()
	}
	if got := shown(); got != "line" || buffer.String() != "line" {
		t.Errorf("a dumb terminal got %q, a buffer %q", got, buffer.String())
	}
}

func TestProgressOfReading(t *testing.T) {
	t.Setenv("TERM", "xterm")
	tty, shown := terminal(t)
	p := startReading(tty, "reading", 2000)
	got, err := io.ReadAll(p.reader(io.LimitReader(zeros{}, 2000)))
	p.end()
	if len(got) != 2000 || err != nil {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if screen := shown(); !strings.Contains(screen, "100%") || !strings.Contains(screen, "2.0/2.0 kB") {
		t.Errorf("shown: %q", screen)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }
