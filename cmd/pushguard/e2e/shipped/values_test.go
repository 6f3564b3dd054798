package shipped

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "write the table of the chart's values")

// property is what the schema of the chart's values says of one.
type property struct {
	Description string
	Properties  map[string]property
}

// The chart's README lists every value, by the words of the schema and the defaults of
// values.yaml, which have the same.
func TestChartValuesAreDocumented(t *testing.T) {
	var schema property
	if err := json.Unmarshal(read(t, root+chart+"/values.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(read(t, root+chart+"/values.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	delete(schema.Properties, "global") // Helm's own
	var table strings.Builder
	table.WriteString("| value | default | |\n|---|---|---|\n")
	rows(t, &table, "", schema, values)
	file := root + chart + "/README.md"
	page := string(read(t, file))
	before, _, found := strings.Cut(page, "| value |")
	if !found {
		t.Fatalf("%s has no table of values", file)
	}
	want := before + table.String()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("%s is not what the schema and values.yaml say; run the test with -update (-want +got):\n%s", file, diff)
	}
}

func rows(t *testing.T, table *strings.Builder, prefix string, schema property, values map[string]any) {
	t.Helper()
	if diff := cmp.Diff(slices.Sorted(maps.Keys(schema.Properties)), slices.Sorted(maps.Keys(values))); diff != "" {
		t.Errorf("%s in the schema and in values.yaml (-schema +values):\n%s", prefix, diff)
	}
	for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
		p := schema.Properties[name]
		if below, ok := values[name].(map[string]any); ok && len(p.Properties) > 0 {
			rows(t, table, prefix+name+".", p, below)
			continue
		}
		if p.Description == "" {
			t.Errorf("%s%s is not described", prefix, name)
		}
		value, err := json.Marshal(values[name])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(table, "| `%s%s` | `%s` | %s |\n", prefix, name, value, p.Description)
	}
}
