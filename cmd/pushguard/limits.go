package main

import (
	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
)

// limitFlags are the hard limits of one push, as given.
type limitFlags struct {
	given           proxy.Caps
	labelValueBytes int64
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
}

func (l *limitFlags) caps() proxy.Caps {
	caps := l.given
	caps.LabelValue = int(l.labelValueBytes)
	return caps
}
