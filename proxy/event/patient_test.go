package event

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// unread is a log into a pipe that nobody reads, with a record that does not fit into it.
func unread(t *testing.T) (l *Log, out *os.File, ended func() error) {
	t.Helper()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = out.Close(), in.Close() })
	l, err = Open(Config{
		Targets: []Target{{URL: "stdout:"}}, Stdout: in, FlushEvery: time.Millisecond,
		Timeout: 20 * time.Millisecond, Drain: 20 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{}
	for c := 'a'; c <= 'z'; c++ {
		labels[string(c)] = strings.Repeat("x", maxMessage)
	}
	l.Add(Record{Time: noon, Kind: Swept, Labels: labels})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	s := l.shippers[0].stats
	eventually(t, func() error {
		if !s.down.Load() || s.errors.Load() < 2 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	return l, out, func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(within):
			return os.ErrDeadlineExceeded
		}
	}
}

func TestStdoutThatIsNotReadIsLeftAtTheEnd(t *testing.T) {
	t.Parallel()
	l, _, ended := unread(t)
	if err := ended(); !errors.Is(err, context.Canceled) {
		t.Errorf("the log ends with %v", err)
	}
	if n := l.shippers[0].stats.drops["closed"].Load(); n != 1 {
		t.Errorf("%d records are counted as lost", n)
	}
}

func TestStdoutThatIsReadAgainHasEachRecordOnce(t *testing.T) {
	t.Parallel()
	l, out, ended := unread(t)
	l.Add(Record{Time: noon, Kind: Swept, Job: "next"})
	lines := bufio.NewReader(out)
	for _, want := range []string{`"z":`, `"job":"next"`} {
		if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, want) {
			t.Errorf("%v, and not %s: %.100q", err, want, line)
		}
	}
	s := l.shippers[0].stats
	eventually(t, func() error {
		if n := s.sent.Load(); n != 2 || s.down.Load() {
			return fmt.Errorf("%d sent, down %v", n, s.down.Load())
		}
		return nil
	})
	if err := ended(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
