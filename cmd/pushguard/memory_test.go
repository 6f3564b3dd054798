package main

import (
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
)

// TestReleaseWhatIsSpare holds what is given back to when: much of it, after a load, and
// not again at once.
func TestReleaseWhatIsSpare(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name string
		use  memoryUse
		want bool
	}{
		{"little is left behind", memoryUse{live: 10 * mib, objects: 14 * mib}, false},
		{"more than little", memoryUse{live: 10 * mib, objects: 14*mib + 1}, true},
		{"a tenth of much", memoryUse{live: 1000 * mib, objects: 1100 * mib}, false},
		{"more than a tenth", memoryUse{live: 1000 * mib, objects: 1100*mib + 1}, true},
		{"free and not given back", memoryUse{live: 10 * mib, objects: 10 * mib, free: 5 * mib}, true},
		{"much was freed", memoryUse{live: 100 * mib, objects: 10 * mib}, false},
		{"a tenth of it is new", memoryUse{live: 10 * mib, objects: 20 * mib, allocated: mib}, true},
		{"more than a tenth", memoryUse{live: 10 * mib, objects: 20 * mib, allocated: mib + 1}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			released := false
			r := releaser{use: func() memoryUse { return tc.use }, release: func() { released = true }, now: time.Now}
			r.look()
			if released != tc.want {
				t.Errorf("released: %v, want %v", released, tc.want)
			}
		})
	}
}

// TestReleaseCostsAFiftieth lets a release take a second: the next is 50 seconds later.
func TestReleaseCostsAFiftieth(t *testing.T) {
	now, releases := time.Unix(0, 0), 0
	r := releaser{
		use:     func() memoryUse { return memoryUse{live: 1, objects: 1 << 30} },
		release: func() { releases++; now = now.Add(time.Second) },
		now:     func() time.Time { return now },
	}
	for range 100 { // until 101 s
		r.look()
		now = now.Add(time.Second)
	}
	if releases != 2 {
		t.Errorf("%d releases, want 2", releases)
	}
}

// TestReleaseForReal lets go of 64 MiB and sees the runtime give them back.
func TestReleaseForReal(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // nobody else collects
	block := make([]byte, 64<<20)
	block[0] = 1
	r := releaser{use: readMemoryUse, release: debug.FreeOSMemory, now: time.Now}
	before := r.use()
	if block[0] != 1 {
		t.Fatal("unreachable")
	}
	block = nil
	r.allocated = before.allocated
	r.look()
	if after := r.use(); before.spare() < 64<<20 || after.spare() > before.spare()-60<<20 {
		t.Errorf("%d MiB to spare, before %d MiB", after.spare()>>20, before.spare()>>20)
	}
}

// TestMemoryLimit has the environment set the limit, which nothing overrides, and reads it
// in the log.
func TestMemoryLimit(t *testing.T) {
	if os.Getenv("PUSHGUARD_SAY_LIMIT") != "" {
		f := memoryFlags{fromCgroup: true, ratio: 0.9}
		f.limit(promslog.New(&promslog.Config{Writer: os.Stdout}))
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestMemoryLimit$")
	cmd.Env = append(os.Environ(), "PUSHGUARD_SAY_LIMIT=1", "GOMEMLIMIT=256MiB")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "GOMEMLIMIT=256MiB") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestParseRatio(t *testing.T) {
	for text, want := range map[string]bool{"0.9": true, "1": true, "0": false, "-1": false, "1.01": false, "NaN": false, "x": false} {
		if _, err := parseRatio(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
