package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Memory is how much of it a process may hold: a limit of the kernel, which ends what
// goes beyond, where this process may make one, and else the environment variable by
// which Go's own runtime knows of a limit.
type Memory struct {
	limit int64
	dir   string // of the cgroup; empty is none
}

// program is what a pushguard's file takes at most where it is mapped.
const program = 48 << 20

// The ratio of the kernel's limit that pushguard takes for GOMEMLIMIT by default.
const goRatio = 0.9

// NewMemory makes a limit of so many bytes. It says in the test's log which it is.
func NewMemory(t testing.TB, bytes int64) *Memory {
	t.Helper()
	m := &Memory{limit: bytes}
	var faults []error
	for _, parent := range cgroupParents() {
		dir, err := newCgroup(parent, bytes)
		if err == nil {
			t.Logf("the limit is that of the cgroup %s", dir)
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Errorf("the cgroup stays: %v", err)
				}
			})
			m.dir = dir
			return m
		}
		faults = append(faults, err)
	}
	t.Logf("no cgroup with a memory limit can be made here, so the kernel limits nothing: GOMEMLIMIT is set, and the most that was resident is compared (%v)", errors.Join(faults...))
	return m
}

// cgroupParents are where a cgroup with a limit may be made: below the mount of version 1,
// or of version 2 beside and below the own one.
func cgroupParents() []string {
	parents := []string{"/sys/fs/cgroup/memory"}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return parents
	}
	for line := range strings.Lines(string(own)) {
		if path, found := strings.CutPrefix(strings.TrimSpace(line), "0::"); found {
			own := filepath.Join("/sys/fs/cgroup", path)
			parents = append(parents, filepath.Dir(own), own)
		}
	}
	return parents
}

// limitFiles are the limits of version 1 and of version 2.
var limitFiles = []string{"memory.limit_in_bytes", "memory.max"}

func newCgroup(parent string, bytes int64) (string, error) {
	if _, err := os.Stat(filepath.Join(parent, "cgroup.procs")); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(parent, "pushguard-test-")
	if err != nil {
		return "", err
	}
	for _, file := range limitFiles {
		if err = writeLimit(filepath.Join(dir, file), bytes); err == nil {
			return dir, nil
		}
	}
	return "", errors.Join(err, os.Remove(dir))
}

func writeLimit(file string, bytes int64) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0) // the kernel makes it, nobody else
	if err != nil {
		return err
	}
	_, err = f.WriteString(strconv.FormatInt(bytes, 10))
	return errors.Join(err, f.Close())
}

// command is how a program is started under the limit.
func (m *Memory) command(path string, args []string) (limitedPath string, limitedArgs []string) {
	if m == nil {
		return path, args
	}
	if m.dir == "" {
		limit := fmt.Sprintf("GOMEMLIMIT=%d", int64(goRatio*float64(m.limit)))
		return "/usr/bin/env", append([]string{limit, path}, args...)
	}
	const enter = `echo $$ >"$0/cgroup.procs" && exec "$@"`
	return "/bin/sh", append([]string{"-c", enter, m.dir, path}, args...)
}

// Kept fails the test if a process went beyond the limit, or was ended because of it.
func (m *Memory) Kept(t testing.TB, p *Process) {
	t.Helper()
	select {
	case <-p.done:
		t.Fatalf("%s has ended: %v\n%s", p.Name, p.cmd.ProcessState, tail(p.Logs(), 8<<10))
	default:
	}
	peak := p.PeakMemory(t)
	t.Logf("%s held at most %d MiB of %d", p.Name, peak>>20, m.limit>>20)
	if m.dir == "" { // what is resident of the program's own file is no part of it
		if peak > m.limit+program {
			t.Errorf("%s held %d MiB, limit %d and %d for the program", p.Name, peak>>20, m.limit>>20, program>>20)
		}
		return
	}
	for _, file := range []string{"memory.oom_control", "memory.events"} {
		text, err := os.ReadFile(filepath.Join(m.dir, file))
		if err != nil {
			continue // of the other version
		}
		for line := range strings.Lines(string(text)) {
			if n, found := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); found && n != "0" {
				t.Errorf("the kernel ended %s of its processes for want of memory", n)
			}
		}
	}
}
