package main

import (
	"fmt"
	"math/rand/v2"
)

// attack is a way of bringing something new with every push.
type attack struct {
	name  string // in the table and the CSV
	where string // in the plot, after "a new run_id"; empty keeps it out of there
	// begin returns what one pusher pushes: push number i, counted over all
	// pushers. A request is valid until the next one is asked for.
	begin func(pusher int) func(i int) request
}

// request is one push: POST of body to path.
type request struct {
	path string
	body []byte
}

// attacks are what jobs were seen to do. The same i always makes the same push,
// so that one run is like another.
var attacks = []attack{
	{"grouping key", "in the grouping key", groupingKey},
	{"body label", "in a body label", bodyLabel},
	{"job name", "in the job name", jobName},
	{"job name, unknown shape", "", unknownJobName},
}

var oneSample = []byte("# TYPE rows_loaded_total counter\nrows_loaded_total 7\n")

// groupingKey is a job that names its run in the URL.
func groupingKey(int) func(int) request {
	return func(i int) request {
		return request{"/metrics/job/load/run_id/" + runID(i), oneSample}
	}
}

// workers is how many processes a pusher of bodyLabel stands for.
const workers = 50

// bodyLabel is a fleet of processes that live for many runs, each with a group of
// its own. A client library keeps every label value it ever saw, so each push
// has one series more than the one before. One process that pushes its newest
// run_id alone would overwrite itself, and a Pushgateway would not grow.
func bodyLabel(pusher int) func(int) request {
	registries := [workers][]byte{}
	for w := range registries {
		registries[w] = []byte("# TYPE rows_loaded_total counter\n")
	}
	pushed := 0
	return func(i int) request {
		w := pushed % workers
		pushed++
		registries[w] = fmt.Appendf(registries[w], "rows_loaded_total{run_id=%q} 7\n", runID(i))
		return request{fmt.Sprintf("/metrics/job/load/instance/host%c%02d", 'a'+pusher%26, w), registries[w]}
	}
}

// jobName is Spark's: the name of the application with its id.
func jobName(int) func(int) request {
	return func(i int) request {
		return request{fmt.Sprintf("/metrics/job/load_application_1690000000000_%04d", i+1), oneSample}
	}
}

// unknownJobName has a tail that no shape of fold_jobs tells from a name.
func unknownJobName(int) func(int) request {
	return func(i int) request {
		return request{"/metrics/job/load_" + letters(i), oneSample}
	}
}

// runID is the UUID of number i.
func runID(i int) string {
	r := rand.New(rand.NewPCG(uint64(i), 0))
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		a>>32, a>>16&0xffff, a&0xfff, b>>48&0x3fff|0x8000, b&0xffffffffffff)
}

// letters are six letters that look random and differ for i below 26⁶.
func letters(i int) string {
	const all = 26 * 26 * 26 * 26 * 26 * 26
	n := (uint64(i)*123_456_789 + 98_765_432) % all // the factor has no divisor in common with 26
	var out [6]byte
	for at := range out {
		out[at] = 'a' + byte(n%26)
		n /= 26
	}
	return string(out[:])
}
