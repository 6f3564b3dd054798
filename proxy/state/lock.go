package state

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrLocked is returned by Open if another process owns the directory.
var ErrLocked = errors.New("state is in use")

const (
	lockName  = "LOCK"
	lockRetry = 50 * time.Millisecond
)

// lockFile opens and locks the file at path, and writes into it who did.
// The lock ends with the returned file, or with the process.
func lockFile(ctx context.Context, path string, wait time.Duration) (*os.File, error) {
	deadline := time.NewTimer(wait)
	defer deadline.Stop()
	retry := time.NewTicker(lockRetry)
	defer retry.Stop()
	for {
		f, err := tryLock(path)
		if err == nil {
			sign(f)
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		select {
		case <-retry.C:
			continue
		case <-deadline.C:
			return nil, fmt.Errorf("%w by %s, waited %v", ErrLocked, holder(path), wait)
		case <-ctx.Done():
			return nil, fmt.Errorf("%w by %s: %w", ErrLocked, holder(path), ctx.Err())
		}
	}
}

func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, fileMode)
	if err != nil {
		return nil, err
	}
	err = flock(f)
	if err == nil {
		err = f.Chmod(fileMode)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// sign writes who has the lock. It is for people: where it cannot be written,
// the lock holds all the same.
func sign(f *os.File) {
	host, _ := os.Hostname()
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "pid %d on host %.64q since %s\n", os.Getpid(), host, time.Now().UTC().Format(time.RFC3339))
	}
}

// holder reads what sign wrote.
func holder(path string) string {
	f, err := openRead(path)
	if err != nil {
		return "another process"
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, 256))
	if line := strings.TrimSpace(strings.ToValidUTF8(string(text), "?")); line != "" {
		return line
	}
	return "another process"
}
