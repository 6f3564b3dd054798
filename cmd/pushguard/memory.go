package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/alecthomas/kingpin/v2"
)

// memoryFlags say how much memory the process may take, and when it gives back what it
// does not use, as given. The first two are named as Prometheus names them.
type memoryFlags struct {
	fromCgroup bool
	ratio      float64
	release    time.Duration
	// collectFrom is in bytes; see heapFloor.
	collectFrom int64
}

func (f *memoryFlags) add(cmd *kingpin.CmdClause) {
	cmd.Flag("auto-gomemlimit", "Have Go's collector work harder before the process reaches the memory limit of its container (cgroup): GOMEMLIMIT is made a part of that, unless the environment sets it. Without a limit there is nothing to do.").
		Default("true").BoolVar(&f.fromCgroup)
	flag(cmd, "auto-gomemlimit.ratio", "Which part.", &f.ratio, parseRatio).
		Default("0.9")
	flag(cmd, "memory.release-interval", "How often the process looks whether it holds memory that pushes have left behind, and gives it back to the system if nobody pushes much, at a cost of a fiftieth of the time at most. 0s never: Go's collector then does so when as much again is allocated.", &f.release, parseDuration).
		Default("2s")
	flag(cmd, "memory.collect-from", "How large the heap may grow, while little is held, for Go's collector, for which pushes wait, to run no more than twice a second. A quarter of GOMEMLIMIT at most; 0, or GOGC in the environment, leaves that to Go.", &f.collectFrom, orNone(parseSize)).
		Default("128MiB")
}

func parseRatio(s string) (float64, error) {
	ratio, err := strconv.ParseFloat(s, 64)
	if err != nil || !(ratio > 0 && ratio <= 1) {
		return 0, errors.New("want a part above 0 and up to 1, such as 0.9")
	}
	return ratio, nil
}

// limit has the collector know the limit of the cgroup, and says what it is.
func (f *memoryFlags) limit(logger *slog.Logger) {
	if f.fromCgroup && os.Getenv("GOMEMLIMIT") == "" {
		if _, err := memlimit.Set(memlimit.WithRatio(f.ratio)); err != nil {
			logger.Debug("The memory limit of the cgroup is unknown", "err", err)
		}
	}
	const unlimited = 1 << 60
	if limit := debug.SetMemoryLimit(-1); limit < unlimited {
		logger.Info("Memory is limited", "GOMEMLIMIT", fmt.Sprintf("%dMiB", limit>>20))
	}
}

// memoryUse is what the heap holds, in bytes.
type memoryUse struct {
	live      uint64 // reachable when the collector ran last
	objects   uint64 // what was reachable then or allocated since
	free      uint64 // of no object, and not given back
	allocated uint64 // since the process began
}

// spare is what could be given back.
func (u memoryUse) spare() uint64 { return u.objects - min(u.live, u.objects) + u.free }

func readMemoryUse() memoryUse {
	read := readBytes("/gc/heap/live:bytes", "/memory/classes/heap/objects:bytes", "/memory/classes/heap/free:bytes", "/gc/heap/allocs:bytes")
	return memoryUse{live: read[0], objects: read[1], free: read[2], allocated: read[3]}
}

// readBytes reads metrics of package runtime/metrics that are numbers of bytes.
func readBytes(names ...string) []uint64 {
	samples, values := make([]metrics.Sample, len(names)), make([]uint64, len(names))
	for i, name := range names {
		samples[i].Name = name
	}
	metrics.Read(samples)
	for i := range samples {
		values[i] = samples[i].Value.Uint64()
	}
	return values
}

// releaser gives memory back that a load has left behind. Go's collector runs when as
// much again is allocated as was reachable: after a load that may be never, and a full
// store holds its size twice until then.
type releaser struct {
	interval time.Duration
	use      func() memoryUse
	release  func()
	now      func() time.Time

	allocated uint64    // at the last look
	next      time.Time // not before
}

const (
	// releaseShare is the part of the live heap that may be spare, and of what is spare
	// that may be allocated anew from look to look, as its inverse; releaseLeast is what is
	// not worth the trouble.
	releaseShare = 10
	releaseLeast = 4 << 20
	// releasePause is how much longer than a release the time until the next is.
	releasePause = 50
)

// run looks after the memory until ctx ends, and returns its error.
func (r *releaser) run(ctx context.Context) error {
	if r.interval <= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	ticks := time.NewTicker(r.interval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticks.C:
			r.look()
		}
	}
}

// look gives back what is spare, if that is much, and little was allocated since the last
// look: what is spare would be used again.
func (r *releaser) look() {
	u := r.use()
	quiet := u.allocated-r.allocated <= u.spare()/releaseShare
	r.allocated = u.allocated
	begun := r.now()
	if !quiet || u.spare() <= max(u.live/releaseShare, releaseLeast) || begun.Before(r.next) {
		return
	}
	r.release()
	ended := r.now()
	r.next = ended.Add(releasePause * ended.Sub(begun))
}

// run is the lifecycle of a releaser.
func (f *memoryFlags) run(ctx context.Context) (execute func() error, interrupt func(error)) {
	r := releaser{interval: f.release, use: readMemoryUse, release: debug.FreeOSMemory, now: time.Now}
	return inContext(ctx, r.run)
}
