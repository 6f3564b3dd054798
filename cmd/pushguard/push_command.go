package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The exit codes of a shell for what it cannot run.
const (
	exitNotRunnable = 126
	exitNotFound    = 127
	exitSignal      = 128 // and the number of the signal
)

// ranCommand is how a command went.
type ranCommand struct {
	started time.Time
	took    time.Duration
	code    int
}

// runCommand runs a command to its end. The signals that are to end this program, or
// to tell it something, are the command's to answer.
func runCommand(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) ranCommand {
	done := ranCommand{started: time.Now()}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // #nosec G204 -- it is what the user asks for
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	err := cmd.Start()
	if err == nil {
		ended := make(chan struct{})
		go passOnSignals(signals, cmd.Process, ended)
		err = cmd.Wait()
		close(ended)
	}
	done.took = time.Since(done.started)
	done.code = codeOf(err)
	if cmd.ProcessState == nil {
		fmt.Fprintf(stderr, "pushguard: %v\n", err)
	}
	return done
}

// passOnSignals hands signals to the process until it has ended. What a terminal
// sends, it sends to both: programs take a second SIGINT for impatience.
func passOnSignals(signals <-chan os.Signal, to *os.Process, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s := <-signals:
			if (s == syscall.SIGINT || s == syscall.SIGQUIT) && onTerminal() {
				continue
			}
			_ = to.Signal(s) // it may be gone
		}
	}
}

// onTerminal reports whether this process is in the group that a terminal sends its
// signals to.
func onTerminal() bool {
	group, err := unix.IoctlGetInt(int(os.Stdin.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// codeOf is the exit code of a command by what Wait or Start said, as a shell has it.
func codeOf(err error) int {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &ended):
		if status, ok := ended.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return exitSignal + int(status.Signal())
		}
		return ended.ExitCode()
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return exitNotFound
	case errors.Is(err, fs.ErrPermission):
		return exitNotRunnable
	default:
		return exitFailure
	}
}
