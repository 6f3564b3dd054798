package audit

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFilesThatCannotBeOpened reads a log of more files than may be open at once: those
// that are not read are named.
func TestFilesThatCannotBeOpened(t *testing.T) {
	_, path := rotatedLog(t, "", 60)
	names, err := Rotated(path)
	if err != nil {
		t.Fatal(err)
	}
	open, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	few := before
	few.Cur = uint64(len(open) + len(names)/2)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var skipped Skipped
	n := 0
	for _, err := range Read([]string{path}, &skipped) {
		if err != nil {
			t.Error(err)
		}
		n++
	}
	page, pageErr := readPage(t.Context(), path, &Filter{}, "", 1000)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if n == 0 || n >= 60 || len(skipped.Damaged) == 0 || !strings.Contains(skipped.String(), names[len(names)-1]+": too many open files") {
		t.Errorf("%d records of 60, %s", n, skipped.String())
	}
	if pageErr != nil || page.Skipped == 0 {
		t.Errorf("a page of %d records, %d skipped, %v", len(page.Records), page.Skipped, pageErr)
	}
}
