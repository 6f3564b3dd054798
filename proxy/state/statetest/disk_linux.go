// Package statetest brings disks that are full to the tests of what is written to one.
package statetest

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// mountEnv says that the test runs where it may mount.
const mountEnv = "PUSHGUARD_TEST_MOUNT"

// OwnMounts runs the test again in a process whose mounts are its own, with more in its
// environment, and returns true in that one. Where that is not allowed the test is
// skipped; where the environment says CI=true it fails.
func OwnMounts(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(mountEnv) != "" {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), mountEnv+"=1"), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.ENOSPC) {
		const advice = "no mounts of its own: run it as root, or allow user namespaces"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice, err)
		}
		t.Skip(advice, err)
	}
	if err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
	return false
}

// SmallDisk returns a directory with room for so many bytes, such as 1m, of files. It is
// for a process whose mounts are its own.
func SmallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "nr_inodes=64,size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// Fill writes a file until the disk is full.
func Fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 512))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}
