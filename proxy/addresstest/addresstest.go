// Package addresstest finds addresses for the servers that tests start.
package addresstest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
)

// Ports that Free chooses from lie below those which the kernel gives to clients and
// to whoever listens on port 0.
const (
	lowest   = 10_000
	attempts = 100
	// usual is where the kernel's own begin unless somebody changed that.
	usual = 32_768
)

// Free is an address of 127.0.0.1 on which nothing listens at the moment, over TCP or
// over UDP. Between this call and the server's own listening, and while a server is
// down that a test starts again, no connection of a client can take the port: it is
// none of those that the kernel hands out. Another who asks for one may, once in
// thousands of times.
func Free() (string, error) {
	last := errors.New("no port is left to tests")
	for range attempts {
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(handedOut()-lowest))
		if last = free(address); last == nil {
			return address, nil
		}
	}
	return "", last
}

// handedOut is the first port that the kernel hands out.
func handedOut() int {
	first := usual
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &first)
	}
	return max(first, lowest+1000)
}

func free(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer l.Close()
	u, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	return u.Close()
}
