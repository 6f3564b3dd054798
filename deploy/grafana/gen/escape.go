package main

import (
	"net/url"
	"strings"
)

// escaped escapes what a URL cannot have, but leaves what Grafana replaces in it, such
// as ${loki}, and the path and the names of the parameters.
func escaped(s string) string {
	before, rest, has := strings.Cut(s, "panes=")
	if !has {
		before, rest = "", s
	} else {
		before += "panes="
	}
	var out strings.Builder
	out.WriteString(before)
	for rest != "" {
		start := strings.Index(rest, "${")
		if start < 0 {
			start = len(rest)
		}
		out.WriteString(strings.ReplaceAll(url.QueryEscape(rest[:start]), "+", "%20"))
		rest = rest[start:]
		if end := strings.Index(rest, "}"); end >= 0 && rest != "" {
			out.WriteString(rest[:end+1])
			rest = rest[end+1:]
		}
	}
	return out.String()
}
