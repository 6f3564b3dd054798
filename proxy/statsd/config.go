package statsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"time"
)

// TagStyle is how labels are written into a line. The zero value is none of
// them.
type TagStyle uint8

// The styles.
const (
	DogStatsD TagStyle = iota + 1 // name:1|c|#key:value,key:value
	InfluxDB                      // name,key=value,key=value:1|c
	Librato                       // name#key=value,key=value:1|c
	SignalFX                      // name[key=value,key=value]:1|c
	// NoTags leaves labels out: name:1|c. The series of a family add up, and of
	// a histogram only the count and the sum are sent, as of a summary.
	NoTags
)

var styles = [...]string{DogStatsD: "dogstatsd", InfluxDB: "influxdb", Librato: "librato", SignalFX: "signalfx", NoTags: "none"}

// ParseTagStyle returns the style of this name: dogstatsd, influxdb, librato,
// signalfx or none.
func ParseTagStyle(name string) (TagStyle, error) {
	for i, n := range styles {
		if n == name && n != "" {
			return TagStyle(i), nil
		}
	}
	return 0, fmt.Errorf("unknown tag style %.50q\nthere are dogstatsd, influxdb, librato, signalfx and none", name)
}

// String is the style's name.
func (t TagStyle) String() string {
	if int(t) < len(styles) && t != 0 {
		return styles[t]
	}
	return "TagStyle(" + strconv.Itoa(int(t)) + ")"
}

// What is meant by the zero value of a field of Config, and good values for
// those fields whose zero value means something else.
const (
	DefaultZeroHold      = 30 * time.Second // twice the usual scrape interval
	DefaultHeartbeat     = time.Minute
	DefaultFlushEvery    = time.Second
	DefaultIdleTTL       = 24 * time.Hour
	DefaultRate          = 20_000
	DefaultMaxSeries     = 100_000
	DefaultWriteTimeout  = 5 * time.Second
	DefaultShutdownFlush = 5 * time.Second
)

// What a datagram holds where Config.PacketSize does not say.
const (
	DefaultUDPPacket      = 1432 // fits an Ethernet frame, with room for a tunnel
	DefaultLoopbackPacket = 8192
	DefaultUnixPacket     = 8192
)

// maxPacket is the most that one datagram ever holds. The exporter reads 65,535
// bytes of one and silently drops the rest.
const maxPacket = 60_000

// Config says where increments go and how. Address and Tags must be set.
type Config struct {
	// Address is udp://host:port, tcp://host:port or unixgram:///path. A host
	// name is looked up again on each reconnect, for UDP also once a minute,
	// and its addresses are tried in turn until one is not refused; a socket
	// that takes the place of another is sent to from the next flush on.
	Address *url.URL
	// Tags is how labels are written.
	Tags TagStyle
	// Prefix stands in front of every name. It starts with a letter or _ and
	// holds only letters, digits and _.
	Prefix string
	// ZeroHold is how long increments of a new series are held after it was sent
	// as 0: two scrape intervals are enough. 0 neither sends a 0 first nor holds.
	ZeroHold time.Duration
	// Heartbeat is how often each live series is sent as 0; 0 is never.
	Heartbeat time.Duration
	// FlushEvery is how often what is pending is sent; 0 is DefaultFlushEvery.
	FlushEvery time.Duration
	// IdleTTL is how long a series without increments is remembered, and sent as
	// 0; 0 is DefaultIdleTTL.
	IdleTTL time.Duration
	// Rate is how many lines a second leave over UDP at most; 0 is DefaultRate.
	// The other transports wait for the reader instead.
	Rate int
	// PacketSize is how many bytes are put into one datagram, 512 to 60,000. A
	// histogram that needs more has a datagram of its own, up to 60,000 bytes. 0
	// is DefaultUnixPacket, over UDP DefaultLoopbackPacket to this host's own
	// addresses 127.0.0.0/8 and ::1, and DefaultUDPPacket to others. It is also
	// what one write over TCP holds, where 0 is 60,000.
	PacketSize int
	// MaxSeries is how many series are remembered at most, pending or not; 0 is
	// DefaultMaxSeries. Of those with nothing pending the one longest without an
	// increment makes room for a new one.
	MaxSeries int
	// WriteTimeout is how long connecting and one write may take; 0 is
	// DefaultWriteTimeout.
	WriteTimeout time.Duration
	// ShutdownFlush is how long Run goes on sending after its context ended; 0
	// is DefaultShutdownFlush.
	ShutdownFlush time.Duration
	// Logger is told of the exporter's coming and going, and of what is refused.
	// Nil is told nothing.
	Logger *slog.Logger
	// Now is the time; nil is time.Now.
	Now func() time.Time
}

var goodPrefix = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*)?$`)

// completed returns the configuration with its defaults, or every fault in it.
func (c Config) completed() (Config, error) {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if err := checkAddress(c.Address); err != nil {
		faults = append(faults, err)
	} else if c.PacketSize == 0 {
		c.PacketSize = packetSize(c.Address)
	}
	if c.Tags < DogStatsD || c.Tags > NoTags {
		fault("no tag style is set")
	}
	if len(c.Prefix) > maxPrefix || !goodPrefix.MatchString(c.Prefix) {
		fault("prefix %.50q: want letters, digits and _, no digit first, at most %d", c.Prefix, maxPrefix)
	}
	for _, d := range []struct {
		name string
		v    *time.Duration
		zero time.Duration
	}{
		{"zero hold", &c.ZeroHold, 0},
		{"heartbeat", &c.Heartbeat, 0},
		{"flush interval", &c.FlushEvery, DefaultFlushEvery},
		{"idle lifetime", &c.IdleTTL, DefaultIdleTTL},
		{"write timeout", &c.WriteTimeout, DefaultWriteTimeout},
		{"shutdown flush", &c.ShutdownFlush, DefaultShutdownFlush},
	} {
		if *d.v < 0 {
			fault("%s is negative: %v", d.name, *d.v)
		}
		if *d.v == 0 {
			*d.v = d.zero
		}
	}
	for _, n := range []struct {
		name           string
		v              *int
		zero, min, max int
	}{
		{"rate", &c.Rate, DefaultRate, 1, 10_000_000},
		{"series", &c.MaxSeries, DefaultMaxSeries, 1, 100_000_000},
		{"packet size", &c.PacketSize, DefaultUDPPacket, 512, maxPacket},
	} {
		if *n.v == 0 {
			*n.v = n.zero
		}
		if *n.v < n.min || *n.v > n.max {
			fault("%s: %d is not in %d to %d", n.name, *n.v, n.min, n.max)
		}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c, errors.Join(faults...)
}

func checkAddress(u *url.URL) error {
	if u == nil {
		return errors.New("no StatsD address")
	}
	hint := "\nwant udp://host:port, tcp://host:port or unixgram:///path"
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "" {
		return fmt.Errorf("StatsD address %.100q has more than a host and a port or a path%s", u.Redacted(), hint)
	}
	switch u.Scheme {
	case "udp", "tcp":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 || u.Hostname() == "" || (u.Path != "" && u.Path != "/") {
			return fmt.Errorf("StatsD address %.100q%s", u, hint)
		}
	case "unixgram":
		if u.Host != "" || len(u.Path) < 2 || len(u.Path) > 107 {
			return fmt.Errorf("StatsD address %.100q: the path is to be absolute, of at most 107 bytes%s", u, hint)
		}
	default:
		return fmt.Errorf("StatsD address %.100q: unknown scheme%s", u, hint)
	}
	return nil
}

func packetSize(u *url.URL) int {
	switch u.Scheme {
	case "tcp":
		return maxPacket
	case "unixgram":
		return DefaultUnixPacket
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip.IsLoopback() {
		return DefaultLoopbackPacket
	}
	return DefaultUDPPacket
}
