//go:build unix

package quiet

import (
	"net"
	"syscall"
)

// Conn reports that the peer of a connection has sent nothing that is still to be read,
// and has not ended it. It reads nothing and waits for nobody, even while another
// goroutine reads. Of a connection that is no socket it knows nothing, and says true.
func Conn(c net.Conn) bool {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	nothing := false
	// Not raw.Read, which waits for who reads.
	err = raw.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		nothing = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
	})
	return err == nil && nothing
}
