package proxy

import (
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/prometheus/client_golang/prometheus"
)

// TestJobLabelIsCapped holds the label job of the guard's own metrics to 500
// values, however many jobs push and however long their names are.
func TestJobLabelIsCapped(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	for i := range maxJobs {
		if name := fmt.Sprint("job", i); m.job(name) != name {
			t.Fatalf("job %d of %d has no value of its own", i+1, maxJobs)
		}
	}
	for name, want := range map[string]string{
		"job0":         "job0",
		"job499":       "job499",
		"one too many": otherJobs,
	} {
		if got := m.job(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func TestJobLabelIsShort(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	for n, own := range map[int]bool{maxJobName - 1: true, maxJobName: true, maxJobName + 1: false} {
		name := strings.Repeat("j", n)
		if got := m.job(name); (got == name) != own {
			t.Errorf("a name of %d bytes becomes %.20q", n, got)
		}
	}
}

// TestJobLabelKeepsNoRequest is about memory: a job's name is a part of a path
// that may be as long as a request's head.
func TestJobLabelKeepsNoRequest(t *testing.T) {
	m := NewMetrics(prometheus.NewRegistry())
	for range 2 {
		path := strings.Repeat("x", 3) + "nightly" + strings.Repeat("x", 1000)
		name := path[3:10]
		if got := m.job(name); got != "nightly" || unsafe.StringData(got) == unsafe.StringData(name) {
			t.Errorf("%q points into the path", got)
		}
	}
}
