package audit

import (
	"fmt"
	"os"
	"syscall"
)

// openToAppend opens the file of a log for appending and creates it, readable to its
// owner only, if it is not there; the permissions of one that is there stay. It
// refuses a symbolic link and anything but a regular file. torn says that the last line
// lacks its end, as after a crash: nothing is written yet, since the disk may be full.
func openToAppend(path string) (f *os.File, torn bool, err error) {
	f, err = os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, false, err
	}
	if torn, err = isTorn(f); err != nil {
		_ = f.Close()
		return nil, false, fmt.Errorf("open %s: %w", path, err)
	}
	return f, torn, nil
}

func isTorn(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, fmt.Errorf("not a regular file: %s", info.Mode())
	}
	if info.Size() == 0 {
		return false, nil
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], info.Size()-1)
	return last[0] != '\n', err
}
