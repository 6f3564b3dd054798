package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// Progress shows on a terminal, and is gone where the lines of the answer are, should
// both be one.
func TestAuditShowsProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	_, plain, _ := command(t, "audit", "testdata/audit/audit.jsonl", "--would-be")
	tty, shown := terminal(t)
	if code := run(t.Context(), []string{"audit", "testdata/audit/audit.jsonl", "--would-be"}, nil, tty, tty); code != 0 {
		t.Errorf("exit code %d", code)
	}
	got := shown()
	if !strings.Contains(got, "reading") || !strings.Contains(got, "kB") {
		t.Errorf("no progress in %q", got)
	}
	if table := strings.ReplaceAll(plain, "\n", "\r\n"); !strings.Contains(got, table) {
		t.Errorf("%q has no table of its own lines: %q", got, table)
	}
}

func TestAuditShowsProgressBesideAFile(t *testing.T) {
	t.Setenv("TERM", "xterm")
	_, plain, _ := command(t, "audit", "testdata/audit/audit.jsonl")
	tty, shown := terminal(t)
	var out bytes.Buffer
	if code := run(t.Context(), []string{"audit", "testdata/audit/audit.jsonl"}, nil, &out, tty); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := shown(); !strings.Contains(got, "reading") || out.String() != plain {
		t.Errorf("progress %q, stdout %q, want %q", got, out.String(), plain)
	}
}

// What is followed has no end to come nearer to.
func TestAuditFollowsWithoutProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &cancelling{cancel: cancel}
	tty, shown := terminal(t)
	if code := run(ctx, []string{"audit", "testdata/audit/audit.jsonl", "--follow"}, nil, out, tty); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if got := shown(); strings.Contains(got, "reading") || out.Len() == 0 {
		t.Errorf("stderr %q, stdout %q", got, out.String())
	}
}
