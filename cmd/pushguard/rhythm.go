package main

import (
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy"
)

// rhythmFlags say how often the guard looks after the upstream, as given.
type rhythmFlags struct {
	given proxy.Rhythm
}

func (f *rhythmFlags) add(cmd *kingpin.CmdClause) {
	every := func(name, help string, target *time.Duration, value string) {
		flag(cmd, name, help, target, parseDuration).Default(value)
	}
	every("pushgateway.watch-interval", "How often the Pushgateway is asked whether it has restarted; its groups are listed anew then. 0s never.", &f.given.Watch, "15s")
	every("pushgateway.resync-interval", "How often its groups are listed, to find what others wrote to it. It costs about as much as a scrape. 0s never.", &f.given.Resync, "10m")
	every("sweep.interval", "How often groups are looked for that have outlived the policy's stale_after. 0s never.", &f.given.Sweep, "1m")
	every("audit.forecast-interval", "How often the audit log is told, of each job in report that was pushed to, what enforcement would have made of the pushes. 0s never.", &f.given.Forecast, "5m")
	flag(cmd, "sweep.rate", "How many groups a sweep deletes a second.", &f.given.SweepRate, parseCount).
		Default("200")
}

func (f *rhythmFlags) rhythm() proxy.Rhythm { return f.given }
