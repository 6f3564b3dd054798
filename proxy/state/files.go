package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

const (
	fileMode = 0o600
	dirMode  = 0o700
	tmp      = ".tmp"
	damaged  = ".damaged"
)

var validName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,27}$`)

func checkName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("name %.40q: want at most %d of a-z, 0-9, _ and -, a letter first", name, nameLen)
	}
	return nil
}

// makeDir makes a directory that survives the loss of power.
func makeDir(path string) error {
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(path, dirMode); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// openRead opens a file, but not through a symbolic link.
func openRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
}

// createTmp creates path.tmp for appending. One that is there was left behind
// by a process that died.
func createTmp(path string) (*os.File, error) {
	if err := os.Remove(path + tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(path+tmp, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL|syscall.O_NOFOLLOW, fileMode)
}

// finish gives the synced file that createTmp made its name.
func finish(path string) error {
	if err := os.Rename(path+tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// createFile makes a file with what it begins with and returns it, open for
// appending. On an error there is none.
func createFile(path string, content []byte) (*os.File, error) {
	f, err := createTmp(path)
	if err != nil {
		return nil, err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = finish(path)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path + tmp)
		return nil, err
	}
	// Anew, as errors of f would name the file that it no longer is.
	f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|syscall.O_NOFOLLOW, 0)
	if err != nil {
		_ = os.Remove(path)
		return nil, err
	}
	return f, nil
}

// writeFile makes a whole file, or none.
func writeFile(path string, content []byte) error {
	f, err := createFile(path, content)
	if err != nil {
		return err
	}
	return f.Close()
}

// isStill reports whether the path leads to the file that f is.
func isStill(f *os.File, path string) (bool, error) {
	mine, err := f.Stat()
	if err != nil {
		return false, err
	}
	there, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(mine, there), err
}
