package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// machine is what a run ran on.
type machine struct {
	date        time.Time
	cores       int
	model       string // of the processor
	kernel      string
	load        string // the load averages before the runs: what else the machine had to do
	pushguard   string // version
	pushgateway string // version
}

func describe(ctx context.Context, o options) (machine, error) {
	m := machine{date: time.Now(), cores: runtime.NumCPU(), model: "unknown", kernel: "unknown", load: "unknown"}
	var err error
	if m.pushguard, err = versionOf(ctx, o.guard); err != nil {
		return m, err
	}
	if m.pushgateway, err = versionOf(ctx, pushgateway); err != nil {
		return m, fmt.Errorf("%w (on Debian: apt-get install %s)", err, pushgateway)
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.kernel = strings.TrimSpace(string(release))
	}
	if averages, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.load = strings.Join(strings.Fields(string(averages))[:3], " ")
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.model = modelName(string(info))
	}
	return m, nil
}

// modelName is the processor in a /proc/cpuinfo.
func modelName(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// versionOf asks a server of the Prometheus family for its version.
func versionOf(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	_, rest, _ := strings.Cut(string(out), ", version ")
	version, _, found := strings.Cut(rest, " ")
	if !found {
		return "", fmt.Errorf("%s --version: %.100q", path, out)
	}
	return version, nil
}

func (m machine) ran(o options) string {
	line := fmt.Sprintf("%s, %d cores of %s, Linux %s: %s pushes of each attack over %d connections",
		m.date.Format("2 January 2006"), m.cores, m.model, m.kernel, thousands(o.pushes), o.pushers)
	if len(o.guardFlags) > 0 {
		line += ", the guard with " + strings.Join(o.guardFlags, " ")
	}
	return line
}

func (m machine) versions() string {
	return fmt.Sprintf("pushguard %s, Pushgateway %s, %s", m.pushguard, m.pushgateway, runtime.Version())
}
