package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestAServerForEachAddress has two addresses keep the one request that web.Serve gives each
// from the other.
func TestAServerForEachAddress(t *testing.T) {
	upstream, _, release := slowUpstream(t)
	release()
	s := start(t, upstream, "--web.listen-address=127.0.0.1:0", "--web.config.file="+write(t, "web.yml", "rate_limit: {burst: 1, interval: 1h}\n"))
	s.log.await(t, `(?s)msg=Serving .*msg=Serving `)
	for _, found := range regexp.MustCompile(`msg=Serving address=(\S+)`).FindAllStringSubmatch(s.log.String(), -1) {
		for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
			resp, err := http.Get("http://" + found[1] + "/-/healthy")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: %d, want %d", found[1], resp.StatusCode, want)
			}
		}
	}
}

// TestSystemdSocket has a process be given sockets as systemd gives them.
func TestSystemdSocket(t *testing.T) {
	if args := os.Getenv("PUSHGUARD_SERVE"); args != "" {
		os.Exit(run(context.Background(), strings.Split(args, "\n"), strings.NewReader(""), io.Discard, os.Stderr))
	}
	stream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	file := func(socket any) *os.File {
		f, err := socket.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	for _, test := range []struct {
		name    string
		sockets []*os.File
		want    string
	}{
		{"none", nil, "pushguard: --web.systemd-socket: systemd gave no socket\n"},
		{
			"datagrams",
			[]*os.File{file(stream), file(datagrams)},
			"pushguard: --web.systemd-socket: the socket of systemd with number 2 takes no connections\n",
		},
		{"a stream", []*os.File{file(stream)}, "msg=Serving address=" + stream.Addr().String()},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("sh", "-c", `LISTEN_PID=$$ exec "$0" -test.run='^TestSystemdSocket$'`, os.Args[0])
			cmd.Env = append(os.Environ(), "LISTEN_FDS="+string(rune('0'+len(test.sockets))), "PUSHGUARD_SERVE=serve\n--web.systemd-socket")
			cmd.ExtraFiles = test.sockets
			out, in := io.Pipe()
			cmd.Stderr = in
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				in.CloseWithError(cmd.Wait())
			}()
			var said strings.Builder
			for part := make([]byte, 4096); !strings.Contains(said.String(), test.want); {
				n, err := out.Read(part)
				said.Write(part[:n])
				if err != nil {
					break
				}
			}
			_ = cmd.Process.Kill()
			go func() { _, _ = io.Copy(io.Discard, out) }()
			<-ended
			if !strings.Contains(said.String(), test.want) {
				t.Errorf("want %q, got:\n%s", test.want, said.String())
			}
		})
	}
}
