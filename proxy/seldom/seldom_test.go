package seldom

import (
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/pushguard/pushguard/proxy/logtest"
)

// Of many at once the log has one, and the next says how many there were besides.
func TestOneForMany(t *testing.T) {
	log := &logtest.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{AddSource: true}))
	var w Warning
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { w.Log(logger, "away", "job", "j") })
	}
	all.Wait()
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "seldom_test.go:") || !strings.HasSuffix(got, "msg=away job=j\n") {
		t.Errorf("50 at once:\n%s", got)
	}
	w.last.Add(-int64(every)) // as if that long ago
	w.Log(logger, "away", "job", "k")
	w.Log(logger, "away", "job", "l")
	if got := log.String(); strings.Count(got, "\n") != 2 || !strings.HasSuffix(got, "msg=away job=k besides=49\n") {
		t.Errorf("later:\n%s", got)
	}
}
