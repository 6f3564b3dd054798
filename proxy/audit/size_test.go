package audit

import (
	"os"
	"path/filepath"
	"testing"
)

func TestSize(t *testing.T) {
	dir := t.TempDir()
	log, other := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "other.jsonl")
	for path, n := range map[string]int{log: 10, log + ".20260304T000000.000000000Z": 200, log + ".1": 4000, other: 3000} {
		if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tc := range map[string]struct {
		paths []string
		want  int64
	}{
		"with what was set aside, not by others": {[]string{log}, 210},
		"of two logs":                            {[]string{log, other}, 3210},
		"of none":                                {[]string{filepath.Join(dir, "none")}, -1},
		"of what is no file":                     {[]string{dir}, -1},
	} {
		if got := Size(tc.paths); got != tc.want {
			t.Errorf("%s: %d bytes, want %d", name, got, tc.want)
		}
	}
}
