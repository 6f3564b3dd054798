package store

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/proxy/wire"
)

// TestOneStrangeName has a name that is not of the legacy charset come beside others that
// are, once in a group's labels and once in a family's.
func TestOneStrangeName(t *testing.T) {
	const body = "# HELP m Of many.\n# TYPE m gauge\n"
	for name, c := range map[string]struct {
		key  wire.Key
		line string
	}{
		"group": {key("a.b", "1"), "m 1\n"},
		"label": {key("run", "strange"), "m{\"a.b\"=\"1\"} 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, end := openedDir(t, dir)
			for _, run := range []string{"1", "2", "3", "4"} {
				push(t, s, http.MethodPut, key("run", run), body+"m 1\n")
			}
			push(t, s, http.MethodPut, c.key, body+c.line)
			escaped(t, s)
			end()
			s, end = openedDir(t, dir)
			escaped(t, s)
			end()
		})
	}
}

func escaped(t *testing.T, s *Store) {
	t.Helper()
	if text := page(t, s); strings.Contains(text, "a.b") || !strings.Contains(text, "a_b") {
		t.Errorf("not escaped:\n%s", text)
	}
}
