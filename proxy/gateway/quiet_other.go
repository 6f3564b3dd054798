//go:build !unix

package gateway

import "net"

// quiet cannot tell here whether an idle connection has ended: the next write does.
func quiet(net.Conn) bool { return true }
