package statsd

import (
	"net"
	"syscall"
	"unsafe"
)

// unread is how many bytes of a connection lie in this host's kernel, because
// its peer's has not taken them yet. See tcp(7), SIOCOUTQ.
func unread(c net.Conn) int {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var n int32
	if err := raw.Control(func(fd uintptr) {
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n)))
	}); err != nil {
		return 0
	}
	return int(n)
}
