package main

import (
	"github.com/prometheus/client_golang/prometheus"
	commonversion "github.com/prometheus/common/version"

	"github.com/pushguard/pushguard/proxy/console"
)

// console returns the pages that people look at, not of any guard yet.
func (s *serveCommand) console(registry *prometheus.Registry) *console.Console {
	cfg := console.Config{Metrics: registry, Apart: s.adminAddress != "", Version: commonversion.Version}
	if !s.embedded() {
		cfg.Behind = s.behindName()
	}
	return console.New(cfg)
}
