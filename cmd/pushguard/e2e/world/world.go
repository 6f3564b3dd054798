// Package world starts the real things the end-to-end tests are about: the
// pushguard binary, a Pushgateway, a Prometheus. It also speaks to them byte by
// byte, and reads them back without any code of pushguard's own.
//
// Everything listens on 127.0.0.1 on a port the kernel chose, and is stopped by
// SIGTERM when its test ends. What a real part is missing skips the test, or
// fails it where the environment says CI=true.
package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Where Debian installs the real parts.
const (
	PushgatewayPath = "/usr/bin/prometheus-pushgateway"
	PrometheusPath  = "/usr/bin/prometheus"
	PromtoolPath    = "/usr/bin/promtool"
	PythonPath      = "/usr/bin/python3"
)

// The environment variables that steer a run.
const (
	// raceEnv builds the binary with the race detector when it is "1".
	raceEnv = "PUSHGUARD_RACE"
	// binaryEnv names a built binary to test, such as a packaged one.
	binaryEnv = "PUSHGUARD_BINARY"
)

// patience is how long anything may take that is to happen: a start, an end, an answer,
// a state. It is far more than it takes, so that no test depends on how fast the
// machine is or how much else it does.
const patience = 2 * time.Minute

// Race reports whether the binary under test carries the race detector, which
// takes several times the memory and the time.
func Race() bool { return os.Getenv(raceEnv) == "1" }

// Root is the top folder of the repository.
func Root() string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "..")
}

// Testdata is the path of a file below testdata.
func Testdata(elem ...string) string {
	return filepath.Join(append([]string{Root(), "testdata"}, elem...)...)
}

// Need skips the test when a real part is missing, and fails it in CI.
func Need(t testing.TB, path string) {
	t.Helper()
	if _, err := exec.LookPath(path); err == nil {
		return
	} else if _, err := os.Stat(path); err == nil {
		return
	}
	Missing(t, path)
}

// Missing ends the test because a real part is not there.
func Missing(t testing.TB, what string) {
	t.Helper()
	message := what + " is missing: run testdata/install.sh as root on a Debian, or install it by hand"
	if os.Getenv("CI") == "true" {
		t.Fatal(message)
	}
	t.Skip(message)
}

// binary is built at the first test that wants it; the folder it lies in is
// Main's to remove.
var (
	binary = sync.OnceValues(build)
	folder string
)

// Main runs the tests of a package and removes the binary they built.
func Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pushguard-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	folder = dir
	return m.Run()
}

func build() (string, error) {
	if path := os.Getenv(binaryEnv); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(folder, "pushguard")
	args := []string{"build", "-o", path}
	if Race() {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/pushguard")...)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/pushguard: %w\n%s", err, out)
	}
	return path, nil
}

// Binary is the path of the pushguard under test, built at the first call.
func Binary(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Write puts a file of the given content into the test's own folder and returns
// its path.
func Write(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Eventually calls check until it returns nil, and fails the test with its last
// error when patience is over.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("after %s: %v", patience, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
