package server

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Memory is what the process holds resident now, in bytes, and 0 for no process.
func (p *Process) Memory() (int64, error) { return p.status("VmRSS:") }

// Peak is the most it held resident since it started, or since ResetPeak.
func (p *Process) Peak() (int64, error) { return p.status("VmHWM:") }

// ResetPeak makes Peak what the process holds now.
func (p *Process) ResetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// Descriptors is how many files and sockets the process has open.
func (p *Process) Descriptors() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	return len(open), err
}

func (p *Process) status(field string) (int64, error) {
	if p == nil {
		return 0, nil
	}
	status, err := p.proc("status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(status) {
		if rest, found := strings.CutPrefix(line, field); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("%s: /proc says nothing of %s", p.Name, field)
}

// tick is what /proc counts processor time in. Linux shows a hundredth of a second to
// programs, whatever it counts in itself.
const tick = time.Second / 100

// CPU is the processor time that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	stat, err := p.proc("stat")
	if err != nil {
		return 0, err
	}
	return cpuOf(stat)
}

// cpuOf reads user and system time from a /proc/PID/stat, whose second field is a name
// that may hold blanks and brackets.
func cpuOf(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const user, system = 14 - 3, 15 - 3 // their places in proc(5), less the first after the name
	if len(fields) <= system {
		return 0, fmt.Errorf("not a /proc/PID/stat: %.200q", stat)
	}
	u, err := strconv.ParseInt(fields[user], 10, 64)
	if err != nil {
		return 0, err
	}
	s, err := strconv.ParseInt(fields[system], 10, 64)
	return time.Duration(u+s) * tick, err
}
