// Package statsdtest runs a real statsd_exporter for tests.
package statsdtest

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

const (
	ready    = 2 * time.Minute
	attempts = 5 // at ports that somebody else may take first
)

// Exporter is a statsd_exporter that listens on 127.0.0.1 and at a socket.
type Exporter struct {
	// Metrics is the URL of its /metrics.
	Metrics *url.URL
	// UDP, TCP and Unixgram are where it takes lines.
	UDP, TCP, Unixgram *url.URL

	path  string
	flags []string
	cmd   *exec.Cmd
	out   *bytes.Buffer // not read before the process has ended
	ended chan struct{}
}

// Start runs a statsd_exporter with more flags, as on its command line, on free
// ports and returns it once it is ready. It is killed when the test ends, and
// what it logged is shown if the test failed.
//
// The exporter is built by the tools of this module. Where it cannot be built
// the test is skipped; where the environment says CI=true it fails.
func Start(t testing.TB, flags ...string) *Exporter {
	t.Helper()
	path, err := binary()
	if err != nil {
		advice := "cannot build statsd_exporter: " + err.Error() + "\ngo tool -modfile=tools.mod -n statsd_exporter does it, and needs the Go module proxy once"
		if os.Getenv("CI") == "true" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	dir, err := os.MkdirTemp("", "statsd") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	e := &Exporter{path: path, flags: flags, Unixgram: &url.URL{Scheme: "unixgram", Path: filepath.Join(dir, "s")}}
	t.Cleanup(func() {
		e.Kill()
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("statsd_exporter %q:\n%s", flags, e.out)
		}
	})
	for range attempts {
		e.Metrics = &url.URL{Scheme: "http", Host: gatewaytest.FreeAddress(t), Path: "/metrics"}
		both := gatewaytest.FreeAddress(t)
		e.UDP, e.TCP = &url.URL{Scheme: "udp", Host: both}, &url.URL{Scheme: "tcp", Host: both}
		if e.start(t) {
			return e
		}
	}
	t.Fatalf("statsd_exporter did not start:\n%s", e.out)
	return nil
}

// Kill ends the exporter at once, with whatever it has not read, and waits for
// its end. Its socket file stays behind.
func (e *Exporter) Kill() {
	if e.cmd == nil || e.cmd.Process == nil {
		return
	}
	_ = e.cmd.Process.Kill()
	<-e.ended
}

// Again starts the exporter again, empty, at the same addresses, after it was
// killed.
func (e *Exporter) Again(t testing.TB) {
	t.Helper()
	for range attempts {
		if e.start(t) {
			return
		}
	}
	t.Fatalf("statsd_exporter did not start again:\n%s", e.out)
}

// Signal sends a signal to the exporter.
func (e *Exporter) Signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// start returns false if the process ended before it was ready.
func (e *Exporter) start(t testing.TB) bool {
	t.Helper()
	_ = os.Remove(e.Unixgram.Path) // with this file it does not start
	e.out = new(bytes.Buffer)
	e.cmd = exec.Command(e.path, append([]string{
		"--web.listen-address=" + e.Metrics.Host, "--statsd.listen-udp=" + e.UDP.Host,
		"--statsd.listen-tcp=" + e.TCP.Host, "--statsd.listen-unixgram=" + e.Unixgram.Path,
	}, e.flags...)...)
	e.cmd.Stdout, e.cmd.Stderr = e.out, e.out
	// A test process that is killed must not leave it behind.
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	e.ended = ended
	cmd := e.cmd
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	return e.waitReady()
}

func (e *Exporter) waitReady() bool {
	deadline := time.After(ready)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-e.ended:
			return false
		case <-deadline:
			e.Kill()
			return false
		case <-tick.C:
		}
		if _, err := e.Scrape(); err != nil {
			continue
		}
		select {
		case <-e.ended: // somebody else answered at this port
			return false
		default:
			return true
		}
	}
}

// Scrape returns what is at /metrics. An answer other than 200, or one that does
// not parse, is an error.
func (e *Exporter) Scrape() (map[string]*dto.MetricFamily, error) {
	client := http.Client{Timeout: ready}
	defer client.CloseIdleConnections()
	resp, err := client.Get(e.Metrics.String())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", e.Metrics, resp.Status)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	return parser.TextToMetricFamilies(resp.Body)
}

// Counters returns every counter at /metrics but those the exporter exports of
// itself, by its name and labels as they would be written: a{b="c",d="e"}.
func (e *Exporter) Counters(t testing.TB) map[string]float64 {
	t.Helper()
	families, err := e.Scrape()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() != "Metric autogenerated by statsd_exporter." {
			continue
		}
		for _, m := range f.GetMetric() {
			out[series(name, m.GetLabel())] = m.GetCounter().GetValue()
		}
	}
	return out
}

func series(name string, labels []*dto.LabelPair) string {
	if len(labels) == 0 {
		return name
	}
	pairs := make([]string, len(labels))
	for i, l := range labels {
		pairs[i] = fmt.Sprintf("%s=%q", l.GetName(), l.GetValue())
	}
	slices.Sort(pairs)
	return name + "{" + strings.Join(pairs, ",") + "}"
}

// Own returns a counter that the exporter exports of itself, summed over its
// labels.
func (e *Exporter) Own(t testing.TB, name string) float64 {
	t.Helper()
	families, err := e.Scrape()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}

// binary builds the exporter, once for all tests of a process.
var binary = sync.OnceValues(func() (string, error) {
	root, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", err
	}
	return Build(filepath.Dir(strings.TrimSpace(string(root))), "tool", "-modfile=tools.mod", "-n", "statsd_exporter")
})

// Build runs a go command in a directory and returns what it prints.
func Build(dir string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, errs.Bytes())
	}
	return strings.TrimSpace(string(out)), nil
}
