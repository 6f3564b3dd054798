package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// cancelling is a stdout whose reader presses Ctrl-C at what is written first.
type cancelling struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (c *cancelling) Write(b []byte) (int, error) {
	c.cancel()
	return c.Buffer.Write(b)
}

// A search that is stopped ends with what is whole, and says how far it came.
func TestAuditIsStopped(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &cancelling{cancel: cancel}
	var errs bytes.Buffer
	code := run(ctx, []string{"audit", "testdata/audit/audit.jsonl"}, nil, out, &errs)
	want := "stopped before the end of the logs: 1 record read, until 2026-03-03T22:00:00Z, 1 of them shown"
	if code != 1 || !strings.Contains(errs.String(), want) {
		t.Errorf("exit code %d, stderr %q, want %q", code, &errs, want)
	}
	if lines := strings.Count(out.String(), "\n"); lines != 2 || !strings.HasSuffix(out.String(), "\n") {
		t.Errorf("want the head and one record, got %q", out.String())
	}
}

// Half of the records are no ground to call a job safe.
func TestAuditIsStoppedBeforeTheSums(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, flag := range []string{"--would-be", "--limit=2"} {
		var out, errs bytes.Buffer
		code := run(ctx, []string{"audit", "testdata/audit/audit.jsonl", flag}, nil, &out, &errs)
		if code != 1 || out.Len() > 0 || !strings.Contains(errs.String(), "0 records read, 0 of them found, and none is shown") {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", flag, code, &out, &errs)
		}
	}
}
