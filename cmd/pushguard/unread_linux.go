package main

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// cutUnread has the system cut off a connection whose peer has taken nothing of what is
// there for it for so long: a server that writes to it waits for ever.
func cutUnread(conn net.Conn, after time.Duration) {
	socket, ok := plain(conn).(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { // of what is no TCP it is refused
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(after.Milliseconds()))
	})
}
