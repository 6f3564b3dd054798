package server

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"
)

// Machine is what measurements ran on, and when.
type Machine struct {
	Date        time.Time
	Cores       int
	Model       string // of the processor
	Kernel      string
	Load        string // the load averages before: what else the machine had to do
	Pushguard   string // version
	Pushgateway string // version
}

// Describe describes the machine and the versions of the pushguard at that path and
// of the Pushgateway in PATH.
func Describe(ctx context.Context, guard string) (Machine, error) {
	m := Machine{Date: time.Now(), Cores: runtime.NumCPU(), Model: "unknown", Kernel: "unknown", Load: "unknown"}
	var err error
	if m.Pushguard, err = versionOf(ctx, guard); err != nil {
		return m, err
	}
	if m.Pushgateway, err = versionOf(ctx, Pushgateway); err != nil {
		return m, fmt.Errorf("%w (on Debian: apt-get install %s)", err, Pushgateway)
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(release))
	}
	if averages, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.Join(strings.Fields(string(averages))[:3], " ")
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.Model = modelName(string(info))
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

// Text is the machine in one line.
func (m Machine) Text() string {
	return fmt.Sprintf("%s, %d cores of %s, Linux %s", m.Date.Format("2 January 2006"), m.Cores, m.Model, m.Kernel)
}

// Versions are those of the programs in one line.
func (m Machine) Versions() string {
	return fmt.Sprintf("pushguard %s, Pushgateway %s, %s", m.Pushguard, m.Pushgateway, runtime.Version())
}
