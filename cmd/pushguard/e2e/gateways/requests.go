package main

import (
	"fmt"
	"strconv"
	"strings"
)

// perGroup is how many series a group has in works about many groups.
const perGroup = 10

// pushes are requests, whole as they go out on a connection.
type pushes [][]byte

// shape is what pushes look like.
type shape struct {
	groups, series int
	// apart has every group have label values of its own, in the body too; without,
	// the groups share a shape.
	apart bool
}

// pushes returns a push for each group, several with other values where there are few.
func (s shape) pushes() pushes {
	const atLeast = 64
	var out pushes
	for n := 0; n < max(s.groups, atLeast); n++ {
		out = append(out, s.push(n%s.groups, n))
	}
	return out
}

// push is one push of a group; n makes its values.
func (s shape) push(group, n int) []byte {
	body := s.body(group, n)
	return fmt.Appendf(nil, "PUT /metrics/job/bench/instance/worker-%06d HTTP/1.1\r\nHost: bench\r\n"+
		"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s", group, len(body), body)
}

// body has ten series a family, of about 90 bytes a line.
func (s shape) body(group, n int) string {
	own := ""
	if s.apart {
		own = "_" + strconv.Itoa(group)
	}
	var b strings.Builder
	for i := range s.series {
		if i%10 == 0 {
			fmt.Fprintf(&b, "# HELP step_%03d_rows Rows of a step.\n# TYPE step_%03d_rows gauge\n", i/10, i/10)
		}
		fmt.Fprintf(&b, "step_%03d_rows{region=\"eu-west-1\",run_id=\"r7f3c2a1b\",status=%q,table=\"orders_%d%s\"} %d\n",
			i/10, []string{"ok", "late"}[i%2], i%10, own, (n*7919+i*104729)%1_000_000)
	}
	return b.String()
}
