// Command gen writes the dashboards of deploy/grafana/dashboards, which are made of
// the panels below and of nothing else: run go generate ./deploy/grafana/gen.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

//go:generate go run .

// folder is where the dashboards are, seen from this package.
const folder = "../dashboards"

func main() {
	for name, content := range files() {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil { // #nosec G306 -- a file of the repository
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// files are the dashboards by the names of their files.
func files() map[string][]byte {
	return map[string][]byte{"batch.json": render(batch()), "pushguard.json": render(guard())}
}

// render is a dashboard as it is kept: indented, keys in order, & and < as they are.
func render(d dashboard) []byte {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(d.json()); err != nil {
		panic(err) // cannot happen: there are only strings, numbers, lists and maps in it
	}
	return out.Bytes()
}
