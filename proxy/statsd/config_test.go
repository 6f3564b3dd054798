package statsd

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"
)

func parse(t testing.TB, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestConfig(t *testing.T) {
	good := func() Config { return Config{Address: parse(t, "udp://exporter:9125"), Tags: DogStatsD} }
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // in the error; empty is none
	}{
		{"as it should be", func(*Config) {}, ""},
		{"no address", func(c *Config) { c.Address = nil }, "no StatsD address"},
		{"no style", func(c *Config) { c.Tags = 0 }, "no tag style"},
		{"no such style", func(c *Config) { c.Tags = NoTags + 1 }, "no tag style"},
		{"prefix", func(c *Config) { c.Prefix = "batch_" }, ""},
		{"prefix with a dot", func(c *Config) { c.Prefix = "batch." }, `prefix "batch."`},
		{"prefix with a digit", func(c *Config) { c.Prefix = "1batch" }, "prefix"},
		{"the longest prefix", func(c *Config) { c.Prefix = strings.Repeat("x", maxPrefix) }, ""},
		{"too long a prefix", func(c *Config) { c.Prefix = strings.Repeat("x", maxPrefix+1) }, "prefix"},
		{"negative hold", func(c *Config) { c.ZeroHold = -1 }, "zero hold"},
		{"negative heartbeat", func(c *Config) { c.Heartbeat = -1 }, "heartbeat"},
		{"negative rate", func(c *Config) { c.Rate = -1 }, "rate"},
		{"the highest rate", func(c *Config) { c.Rate = 10_000_000 }, ""},
		{"too high a rate", func(c *Config) { c.Rate = 10_000_001 }, "rate"},
		{"the shortest packet", func(c *Config) { c.PacketSize = 512 }, ""},
		{"too short a packet", func(c *Config) { c.PacketSize = 511 }, "packet size"},
		{"the longest packet", func(c *Config) { c.PacketSize = maxPacket }, ""},
		{"too long a packet", func(c *Config) { c.PacketSize = maxPacket + 1 }, "packet size"},
		{"negative series", func(c *Config) { c.MaxSeries = -1 }, "series"},
		{"several faults", func(c *Config) { c.FlushEvery, c.IdleTTL = -1, -1 }, "idle lifetime"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := good()
			tc.change(&c)
			_, err := New(c)
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"udp://127.0.0.1:9125": true, "tcp://exporter:9125/": true, "udp://[::1]:1": true, "tcp://x:65535": true,
		"unixgram:///run/s":                       true,
		"unixgram:///" + strings.Repeat("x", 106): true,
		"unixgram:///" + strings.Repeat("x", 107): false,
		"unixgram://run/s":                        false,
		"unixgram:///":                            false,
		"unixgram:s":                              false,
		"udp://exporter":                          false,
		"udp://:9125":                             false,
		"udp://exporter:0":                        false,
		"udp://exporter:65536":                    false,
		"udp://exporter:9125/path":                false,
		"udp://user@exporter:9125":                false,
		"udp://exporter:9125?x":                   false,
		"http://exporter:9125":                    false,
		"exporter:9125":                           false,
		"unix:///run/s":                           false,
	} {
		_, err := New(Config{Address: parse(t, address), Tags: DogStatsD})
		if (err == nil) != good {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	for address, packet := range map[string]int{
		"udp://exporter:9125": DefaultUDPPacket, "udp://10.0.0.1:9125": DefaultUDPPacket,
		"udp://localhost:9125": DefaultLoopbackPacket, "udp://127.1.2.3:9125": DefaultLoopbackPacket, "udp://[::1]:9125": DefaultLoopbackPacket,
		"unixgram:///s": DefaultUnixPacket, "tcp://exporter:9125": maxPacket,
	} {
		c := newSender(t, Config{Address: parse(t, address)}).cfg
		if c.PacketSize != packet {
			t.Errorf("%s: packets of %d bytes", address, c.PacketSize)
		}
		if c.FlushEvery != DefaultFlushEvery || c.Rate != DefaultRate || c.MaxSeries != DefaultMaxSeries || c.ZeroHold != 0 || c.Heartbeat != 0 {
			t.Errorf("%+v", c)
		}
	}
}

func TestTagStyle(t *testing.T) {
	for style := DogStatsD; style <= NoTags; style++ {
		if got, err := ParseTagStyle(style.String()); got != style || err != nil {
			t.Errorf("%v is read as %v, %v", style, got, err)
		}
	}
	for _, bad := range []string{"", "DogStatsD", "TagStyle(0)"} {
		if _, err := ParseTagStyle(bad); err == nil || !strings.Contains(err.Error(), "librato") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if TagStyle(0).String() != "TagStyle(0)" || TagStyle(9).String() != "TagStyle(9)" {
		t.Error("an unknown style has a name")
	}
}

func TestPace(t *testing.T) {
	p := newPacer(1000)
	now := time.Now()
	if due := p.due(now); !due.Equal(now.Add(-burst)) {
		t.Errorf("due %v after idling, more than a burst is saved up", now.Sub(due))
	}
	p.next = now.Add(time.Second)
	if due := p.due(now); !due.Equal(now.Add(time.Second)) {
		t.Errorf("due in %v", due.Sub(now))
	}
	// What has passed pushes the next one back, from when it was due itself.
	p.next = now.Add(time.Millisecond)
	if err := p.wait(t.Context(), 7); err != nil || !p.next.Equal(now.Add(8*time.Millisecond)) {
		t.Errorf("%v, the next line is due in %v", err, p.next.Sub(now))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	p.next = now.Add(time.Hour)
	if err := p.wait(ended, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := new(pacer).wait(t.Context(), 1<<40); err != nil {
		t.Error(err)
	}
}
