package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// readDashboards reads a dashboard, or all that a folder has, in the folders in it,
// too.
func (q *queries) readDashboards(name string) error {
	return filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path != name && filepath.Ext(path) != ".json" {
			return err
		}
		content, err := os.ReadFile(path) // #nosec G122 -- who names the folder may read what is in it
		if err != nil {
			return err
		}
		var written any
		if err := json.Unmarshal(content, &written); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		q.readPanels(path, written)
		return nil
	})
}

// labelValues is a query of a variable, for the values of a label.
var labelValues = regexp.MustCompile(`^\s*label_values\(\s*(.*\S)\s*,\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\)\s*$`)

// readPanels reads what is below a place in a dashboard, wherever Grafana's many
// schemas put it: an expr is PromQL, a title is that of what is around it.
func (q *queries) readPanels(place string, at any) {
	switch at := at.(type) {
	case []any:
		for _, v := range at {
			q.readPanels(place, v)
		}
	case map[string]any:
		if title, ok := at["title"].(string); ok && title != "" {
			place += fmt.Sprintf(": %q", title)
		}
		for _, key := range slices.Sorted(maps.Keys(at)) {
			q.readField(place, key, at[key])
		}
	}
}

func (q *queries) readField(place, key string, value any) {
	text, isText := value.(string)
	values := labelValues.FindStringSubmatch(text)
	switch {
	case !isText:
		q.readPanels(place, value)
	case key == "expr" && strings.TrimSpace(text) != "":
		q.add(place, withoutVariables(text)...)
	case (key == "query" || key == "definition") && values != nil:
		var asked []string
		for _, expr := range withoutVariables(values[1]) {
			asked = append(asked, fmt.Sprintf("count by (%s) (%s)", values[2], expr))
		}
		q.add(place+": variable", asked...)
	}
}

// variablePattern is one of Grafana's variables, in each way in which it is written.
const variablePattern = `(?:\$\{\w+(?:[.:][^}]*)?\}|\$\w+|\[\[\w+(?::\w+)?\]\])`

var (
	variable     = regexp.MustCompile(variablePattern)
	variableHere = regexp.MustCompile(`^` + variablePattern)
	// scalarNext is what comes before an argument that can only be a number.
	scalarNext = regexp.MustCompile(`\b(?:topk|bottomk|limitk|limit_ratio|quantile|histogram_quantile|quantile_over_time)\s*(?:(?:by|without)\s*\([^()]*\)\s*)?\($`)
)

func hasVariable(s string) bool { return variable.MatchString(s) }

// withoutVariables returns what a query may be once Grafana has put values in place of
// its variables, the likeliest first: a duration where only that can stand, elsewhere a
// name or a number. What is quoted stays as it is.
func withoutVariables(expr string) []string {
	if !hasVariable(expr) {
		return []string{expr}
	}
	return []string{replaceVariables(expr, "grafana_variable"), replaceVariables(expr, "1")}
}

// replaceVariables replaces the variables outside of quotes.
func replaceVariables(expr, other string) string {
	var out strings.Builder
	for expr != "" {
		if n := quoted(expr); n > 0 {
			out.WriteString(expr[:n])
			expr = expr[n:]
			continue
		}
		if v := variableHere.FindString(expr); v != "" {
			out.WriteString(standIn(out.String(), other))
			expr = expr[len(v):]
			continue
		}
		out.WriteByte(expr[0])
		expr = expr[1:]
	}
	return out.String()
}

// standIn is what a variable after so much of a query becomes.
func standIn(before, other string) string {
	before = strings.TrimRight(before, " \t\n")
	switch {
	case strings.HasSuffix(before, "["), strings.HasSuffix(before, "offset"), strings.HasSuffix(before, ":") && strings.LastIndexByte(before, '[') > strings.LastIndexByte(before, ']'):
		return "5m"
	case scalarNext.MatchString(before):
		return "1"
	}
	return other
}

// quoted is the length of the string that s begins with, 0 if it begins with none.
func quoted(s string) int {
	quote := s[0]
	if quote != '"' && quote != '\'' && quote != '`' {
		return 0
	}
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quote != '`':
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}
