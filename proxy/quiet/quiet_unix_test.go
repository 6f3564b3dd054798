//go:build unix

package quiet_test

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/quiet"
)

// TestConn has a peer say nothing, something, and goodbye.
func TestConn(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	become := func(want bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); quiet.Conn(c) != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("still %t", !want)
			}
		}
	}
	if !quiet.Conn(c) {
		t.Error("a peer that has said nothing is not quiet")
	}
	if _, err := peer.Write([]byte("xy")); err != nil {
		t.Fatal(err)
	}
	become(false)
	b := make([]byte, 2)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "xy" {
		t.Fatalf("read %q, %v after it was looked at", b, err)
	}
	become(true)
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(b)
		read <- err
	}()
	time.Sleep(10 * time.Millisecond) // it reads, most likely: waiting for it would hang
	if !quiet.Conn(c) {
		t.Error("not quiet while somebody reads")
	}
	_ = peer.Close()
	if err := <-read; err != io.EOF {
		t.Fatal(err)
	}
	become(false)
	_ = c.Close()
	if quiet.Conn(c) {
		t.Error("a connection that is closed is quiet")
	}
}

// TestNoSocket knows nothing of what is no socket.
func TestNoSocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if !quiet.Conn(a) {
		t.Error("a pipe is not quiet")
	}
}
