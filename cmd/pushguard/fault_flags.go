package main

import (
	"errors"
	"strconv"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// faultFlags say what is done while a Pushgateway behind does not answer, as given.
type faultFlags struct {
	failures int
	pause    time.Duration
}

func (f *faultFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "pushgateway.breaker-failures", "After how many requests in a row without an answer a Pushgateway is left alone: pushes are then answered at once instead of waiting for it. 0 never.", &f.failures, parseFailures).
		Default("5")
	flag(cmd, "pushgateway.breaker-pause", "For how long it is left alone before one request is sent to see whether it is back.", &f.pause, parseTimeout).
		Default("5s")
}

func (f *faultFlags) breaker() gateway.Breaker {
	return gateway.Breaker{Failures: f.failures, Pause: f.pause}
}

func parseFailures(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil {
		return 0, errors.New("want a whole number from 0 to 2147483647")
	}
	return int(n), nil
}
