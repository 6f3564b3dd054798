package main

import (
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/pushguard/pushguard"

// layer is a room and the rooms it may import.
type layer struct {
	room string
	may  []string
}

// layers lists the rooms from the ground up: imports point downwards only, so
// a room may import only rooms listed before it. A new room is a new line here.
var layers = []layer{
	{"deploy", nil},
	{"deploy/grafana/gen", nil},
	{"rules/finding", nil},
	{"rules", []string{"rules/finding"}},
	{"policy/credential", nil},
	{"policy", []string{"policy/credential", "rules", "rules/finding"}},
	{"policy/learn", []string{"rules", "rules/finding"}},
	{"proxy/wire", []string{"rules/finding"}},
	{"proxy/state", nil},
	{"proxy/clock", nil},
	{"proxy/quiet", nil},
	{"proxy/seldom", nil},
	{"proxy/shared", []string{"proxy/clock", "proxy/state"}},
	{"proxy/ledger", []string{"proxy/clock", "proxy/wire", "proxy/state", "proxy/shared"}},
	{"proxy/demand", []string{"rules/finding"}},
	{"proxy/admission", nil},
	{"proxy/counter", []string{"proxy/clock", "proxy/state", "proxy/shared"}},
	{"proxy/statsd", []string{"proxy/counter", "proxy/seldom"}},
	{"proxy/gateway", []string{"proxy/quiet", "proxy/wire"}},
	{"proxy/store", []string{"proxy/gateway", "proxy/state", "proxy/wire"}},
	{"proxy/fleet", []string{"proxy/gateway", "proxy/state", "proxy/store", "proxy/wire"}},
	{"proxy/consistency", []string{"proxy/gateway", "proxy/store", "proxy/wire"}},
	{"proxy/spool", []string{"proxy/gateway", "proxy/seldom", "proxy/state", "proxy/wire"}},
	{"proxy/audit", []string{"rules/finding"}},
	{"proxy/record", []string{"proxy/audit", "proxy/counter", "proxy/gateway", "proxy/wire", "rules", "rules/finding"}},
	{"proxy/event", []string{"proxy/seldom", "proxy/state"}},
	{"proxy", []string{"policy", "policy/credential", "proxy/admission", "proxy/audit", "proxy/counter", "proxy/demand", "proxy/event", "proxy/gateway", "proxy/ledger", "proxy/record", "proxy/seldom", "proxy/shared", "proxy/spool", "proxy/store", "proxy/wire", "rules", "rules/finding"}},
	{"proxy/story", []string{"policy", "proxy", "proxy/wire", "rules"}},
	{"proxy/trial", []string{"policy", "proxy", "proxy/gateway", "proxy/counter", "proxy/record", "proxy/store", "proxy/wire"}},
	{"proxy/console", []string{"policy", "proxy", "proxy/audit", "proxy/shared", "rules/finding"}},
	{"cmd/pushguard", []string{"deploy", "policy", "policy/learn", "proxy", "proxy/console", "proxy/consistency", "proxy/trial", "proxy/audit", "proxy/counter", "proxy/event", "proxy/fleet", "proxy/gateway", "proxy/ledger", "proxy/quiet", "proxy/record", "proxy/seldom", "proxy/shared", "proxy/spool", "proxy/state", "proxy/statsd", "proxy/store", "proxy/story", "proxy/wire"}},
}

// testOnly are modules that the product must not carry.
var testOnly = []string{
	"github.com/Shopify/toxiproxy/v2",
	"github.com/google/go-cmp",
	"github.com/rogpeppe/go-internal",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
	"testing",
}

// isTestHelp reports whether a package of ours exists for tests alone: a
// …test package, what lies under testdata, and the end to end tests.
func isTestHelp(room string) bool {
	return strings.HasSuffix(room, "test") ||
		slices.ContainsFunc(strings.Split(room, "/"), func(part string) bool { return part == "testdata" || part == "e2e" })
}

// violations returns what is wrong with the imports of one package, both given
// by their import paths.
func violations(pkg string, imports []string) []string {
	room := strings.TrimPrefix(pkg, module+"/")
	if isTestHelp(room) {
		return nil
	}
	at := slices.IndexFunc(layers, func(l layer) bool { return l.room == room })
	if at < 0 {
		return []string{room + " is not in the table of layers"}
	}
	var out []string
	for _, imported := range imports {
		ours, ok := strings.CutPrefix(imported, module+"/")
		switch {
		case ok && !slices.Contains(layers[at].may, ours):
			out = append(out, room+" must not import "+ours)
		case slices.ContainsFunc(testOnly, func(m string) bool { return imported == m || strings.HasPrefix(imported, m+"/") }):
			out = append(out, room+" is no test and must not import "+imported)
		}
	}
	return out
}

// unused returns what the table permits a room to import that it does not, so that the
// table tells who knows whom.
func unused(pkg string, imports []string) []string {
	var out []string
	for _, l := range layers {
		for _, ours := range l.may {
			if l.room == strings.TrimPrefix(pkg, module+"/") && !slices.Contains(imports, module+"/"+ours) {
				out = append(out, l.room+" may import "+ours+" and does not")
			}
		}
	}
	return out
}

func TestImportsPointDownwards(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < len(layers) {
		t.Fatalf("go list names %d packages, the table of layers %d:\n%s", len(lines), len(layers), out)
	}
	for _, line := range lines {
		fields := strings.Fields(line)
		for _, v := range append(violations(fields[0], fields[1:]), unused(fields[0], fields[1:])...) {
			t.Error(v)
		}
	}
}

func TestLayersAreOrdered(t *testing.T) {
	listed := map[string]bool{}
	for _, l := range layers {
		for _, room := range l.may {
			if !listed[room] {
				t.Errorf("%s may import %s, which is not below it", l.room, room)
			}
		}
		listed[l.room] = true
	}
}

// TestRoomsAreDocumented holds the table of rooms in CONTRIBUTING.md to the layers.
func TestRoomsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z/]+)` \\| .* \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		said[row[1]] = row[2]
	}
	for _, l := range layers {
		may, ok := said[l.room]
		var names []string
		for _, room := range l.may {
			names = append(names, path.Base(room))
		}
		got := strings.Split(may, ", ")
		slices.Sort(names)
		slices.Sort(got)
		switch {
		case !ok:
			t.Errorf("%s is not in the table", l.room)
		case may == "nothing" && len(names) == 0, strings.HasPrefix(may, "all"):
		case !slices.Equal(got, names):
			t.Errorf("%s may import %s, and the table says %s", l.room, strings.Join(names, ", "), may)
		}
		delete(said, l.room)
	}
	for room := range said {
		t.Errorf("there is no room %s", room)
	}
}

func TestViolations(t *testing.T) {
	for _, tc := range []struct {
		name, room string
		imports    []string
		want       []string
	}{
		{"downwards", "policy", []string{"fmt", module + "/rules"}, nil},
		{"upwards", "rules", []string{module + "/policy"}, []string{"rules must not import policy"}},
		{"sideways", "proxy/wire", []string{module + "/rules"}, []string{"proxy/wire must not import rules"}},
		{"a room nobody listed", "util", nil, []string{"util is not in the table of layers"}},
		{"a test helper in production", "proxy", []string{module + "/proxy/proxytest"}, []string{"proxy must not import proxy/proxytest"}},
		{"the end to end tests in production", "cmd/pushguard", []string{module + "/cmd/pushguard/e2e"}, []string{"cmd/pushguard must not import cmd/pushguard/e2e"}},
		{"package testing in production", "rules", []string{"testing"}, []string{"rules is no test and must not import testing"}},
		{"a test's module in production", "rules", []string{"go.uber.org/goleak/internal/stack"}, []string{"rules is no test and must not import go.uber.org/goleak/internal/stack"}},
		{"a test helper imports what it likes", "proxy/proxytest", []string{"testing", module + "/proxy"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, violations(path.Join(module, tc.room), tc.imports)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
