package proxy

import (
	"net"
	"net/netip"
	"testing"
)

func TestClientAddress(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, tc := range []struct {
		name      string
		remote    string
		forwarded []string
		want      string
	}{
		{"a client without a proxy", "192.0.2.7:1234", nil, "192.0.2.7:1234"},
		{"a client that writes the header itself", "192.0.2.7:1234", []string{"198.51.100.1"}, "192.0.2.7:1234"},
		{"a trusted proxy that says nothing", "10.0.0.1:1234", nil, "10.0.0.1:1234"},
		{"behind a trusted proxy", "10.0.0.1:1234", []string{"192.0.2.7"}, "192.0.2.7"},
		{"behind two, on one line", "10.0.0.1:1234", []string{"192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"behind two, on two lines", "10.0.0.1:1234", []string{"192.0.2.7", "10.0.0.2"}, "192.0.2.7"},
		{"what the client wrote before is not believed", "10.0.0.1:1234", []string{"198.51.100.1, 192.0.2.7"}, "192.0.2.7"},
		{"a client that writes a trusted address", "10.0.0.1:1234", []string{"10.0.0.9, 192.0.2.7, 10.0.0.2"}, "192.0.2.7"},
		{"garbage of the client's is not read", "10.0.0.1:1234", []string{"<script>,, 192.0.2.7"}, "192.0.2.7"},
		{"garbage on the way", "10.0.0.1:1234", []string{"192.0.2.7, unknown, 10.0.0.2"}, "10.0.0.1:1234"},
		{"an empty entry on the way", "10.0.0.1:1234", []string{"192.0.2.7,"}, "10.0.0.1:1234"},
		{"an empty header", "10.0.0.1:1234", []string{""}, "10.0.0.1:1234"},
		{"only trusted proxies", "10.0.0.1:1234", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.1:1234"},
		{"IPv6", "[fd00::1]:1234", []string{"2001:db8::7"}, "2001:db8::7"},
		{"IPv6 written otherwise", "[fd00::1]:1234", []string{"2001:DB8:0::7"}, "2001:db8::7"},
		{"IPv4 through an IPv6 socket", "[::ffff:10.0.0.1]:1234", []string{"::ffff:192.0.2.7"}, "192.0.2.7"},
		{"with a port", "10.0.0.1:1234", []string{"192.0.2.7:5678"}, "192.0.2.7"},
		{"IPv6 with a port", "10.0.0.1:1234", []string{"[2001:db8::7]:5678"}, "2001:db8::7"},
		{"a zone", "10.0.0.1:1234", []string{"fe80::1%eth0"}, "fe80::1"},
		{"tabs for spaces", "10.0.0.1:1234", []string{"\t192.0.2.7\t,\t10.0.0.2"}, "192.0.2.7"},
		{"a socket without addresses", "@", []string{"192.0.2.7"}, "@"},
		{"no socket", "", []string{"192.0.2.7"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := clientAddress(tc.remote, tc.forwarded, trusted); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	if got := clientAddress("10.0.0.1:1234", []string{"192.0.2.7"}, nil); got != "10.0.0.1:1234" {
		t.Errorf("with nobody trusted got %q", got)
	}
}

// FuzzClientAddress holds the answer to be the socket's address or an address
// from the header that nobody trusts, and what a client writes to change nothing
// once the proxies have appended to it.
func FuzzClientAddress(f *testing.F) {
	for _, header := range []string{
		"192.0.2.7", "198.51.100.1, 192.0.2.7,10.0.0.2", "unknown", "", ",", "[2001:db8::7]:80,10.1.1.1", "fe80::1%eth0", "::ffff:192.0.2.7",
	} {
		f.Add(header, "<script>, 10.0.0.1")
	}
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	_, oracle, err := net.ParseCIDR("10.0.0.0/8")
	if err != nil {
		f.Fatal(err)
	}
	const socket = "10.0.0.1:1234"
	f.Fuzz(func(t *testing.T, header, written string) {
		got := clientAddress(socket, []string{header}, trusted)
		if got == socket {
			return
		}
		ip := net.ParseIP(got)
		if ip == nil || oracle.Contains(ip) {
			t.Errorf("%q: %q is trusted, or no address", header, got)
		}
		for _, lines := range [][]string{{written + "," + header}, {written, header}} {
			if again := clientAddress(socket, lines, trusted); again != got {
				t.Errorf("%q: %q, and with %q in front of it %q", header, got, written, again)
			}
		}
		if before := clientAddress("192.0.2.1:1", []string{header}, trusted); before != "192.0.2.1:1" {
			t.Errorf("%q: from a peer that nobody trusts %q", header, before)
		}
	})
}

func TestNetwork(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7:1234":                  "192.0.2.7",
		"192.0.2.7":                       "192.0.2.7",
		"[::ffff:192.0.2.7]:1":            "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:1":        "2001:db8:1:2::",
		"2001:db8:1:2:ffff:ffff:ffff:fff": "2001:db8:1:2::",
		"2001:db8:1:3::":                  "2001:db8:1:3::",
		"[fe80::1%eth0]:1":                "fe80::",
		"@":                               "@",
	} {
		if got := network(address); got != want {
			t.Errorf("%s is of %s, want %s", address, got, want)
		}
	}
}
