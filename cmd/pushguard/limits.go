package main

import (
	"fmt"
	"log/slog"
	"math"
	"syscall"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
)

// limitFlags are the hard limits of one push, as given.
type limitFlags struct {
	given           proxy.Caps
	labelValueBytes int64
	connections     int
	told            int  // of the connections beyond these, how many are kept to be told so
	bytesGiven      bool // --limits.in-flight-bytes is on the command line
}

func (l *limitFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "limits.body-bytes", "Largest body of a push, as sent. These limits hold in every mode of the policy.", &l.given.Body, parseSize).
		Default("16MiB")
	flag(cmd, "limits.decoded-bytes", "Largest body of a push, once decompressed.", &l.given.Decoded, parseSize).
		Default("64MiB")
	flag(cmd, "limits.samples", "Most samples of one push.", &l.given.Samples, parseCount).
		Default("200000")
	flag(cmd, "limits.labels", "Most labels of one sample.", &l.given.Labels, parseCount).
		Default("128")
	flag(cmd, "limits.label-value-bytes", "Longest value of a label.", &l.labelValueBytes, parseSize).
		Default("16KiB")
	flag(cmd, "limits.series", "Most series of all jobs together, whatever the policy says: what a scrape of the Pushgateway can bring. A push that would bring more is refused.", &l.given.Series, parseCount).
		Default("1000000")
	flag(cmd, "limits.in-flight", "Most pushes and deletes in flight at once; as many of them work as there are processors (GOMAXPROCS), the others wait for a disk or a server. Further ones wait, no job behind the flood of another, those that hold series and are within their budget first. What cannot wait is answered 503 with Retry-After.", &l.given.InFlight, parseCount).
		Default("64")
	flag(cmd, "limits.wait", "How long a push may wait for that. If its job has had pushes waiting for a tenth of that without a break, a twentieth of it.", &l.given.Wait, parseTimeout).
		Default("1s")
	flag(cmd, "limits.in-flight-bytes", "Most bytes that all pushes hold at once: their bodies, as received and decompressed, and eight times that and 1KiB for each sample while a push is worked on that is unlike those before. No job holds more than it leaves to the others, but for a single push. Beyond, 503, and 413 for a push that takes more by itself. Where memory is limited, and this flag is not given, a quarter of that if it is less.", &l.given.InFlightBytes, parseSize).
		Default("1GiB").IsSetByUser(&l.bytesGiven)
	flag(cmd, "limits.connections", "Most connections to --web.listen-address, and as many to --admin.listen-address; no client, which is an address of IPv4 or 64 bits of IPv6, has more than it leaves to the others, but for --web.trusted-proxies. Beyond, the one that has waited longest for a request is closed, or, if none has waited for a tenth of a second, the new one, with 503. Requests by HTTP/2, of which one carries many, are bounded alike. Where the process may have few files open, three quarters of these, which both addresses share, if that is less.", &l.connections, parseCount).
		Default("4096")
}

// within has pushes hold no more than a part of the memory there is, unless the command
// line says how much: beside them there is what is kept.
func (l *limitFlags) within(memory int64, logger *slog.Logger) {
	const share = 4
	if l.bytesGiven || memory/share >= l.given.InFlightBytes {
		return
	}
	l.given.InFlightBytes = memory / share
	logger.Info("Memory is limited, and what pushes may hold of it at once", "limits.in-flight-bytes", fmt.Sprintf("%dMiB", l.given.InFlightBytes>>20))
}

// withinFiles has connections take no more than three quarters of the files that the
// process may have open, on all addresses together: at that limit of the system none can be
// taken, and so none that does nothing be closed for it, nor a file be opened. Those that
// are told why they are refused take a quarter of what is left, so that it is not all theirs.
func (l *limitFlags) withinFiles(files uint64, addresses int, logger *slog.Logger) {
	each := int(min(files, math.MaxInt32)) / addresses
	l.told = min(mostTold, each/16)
	most := max(1, each/4*3)
	if l.connections <= most {
		return
	}
	l.connections = most
	logger.Warn("The process may have few files open (ulimit -n), and connections no more than a part of them", "files", files, "limits.connections", most)
}

// openFiles is how many files the process may have open, connections among them.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return limit.Cur
}

// headers is how many bytes a request may have before its body, which are kept until that
// has come: those of all connections together take an eighth of the memory there is, if no
// request needs more than other servers take.
func (l *limitFlags) headers(memory int64) int {
	const share, least, most = 8, 16 << 10, 64 << 10
	return int(min(most, max(least, memory/share/int64(max(1, l.connections)))))
}

func (l *limitFlags) caps() proxy.Caps {
	caps := l.given
	caps.LabelValue = int(l.labelValueBytes)
	return caps
}
