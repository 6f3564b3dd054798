package main

import (
	"fmt"
	"strings"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/server"
)

// ran says in one line what was run on the machine.
func ran(m server.Machine, o options) string {
	line := fmt.Sprintf("%s: %s pushes of each attack over %d connections", m.Text(), thousands(o.pushes), o.pushers)
	if len(o.guardFlags) > 0 {
		line += ", the guard with " + strings.Join(o.guardFlags, " ")
	}
	return line
}
