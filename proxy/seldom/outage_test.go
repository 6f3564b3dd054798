package seldom

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
)

// Of an outage the log has each reason once, and anew with the next one.
func TestEachReasonOnce(t *testing.T) {
	var o Outage
	if o.End() {
		t.Error("there was an outage before the first error")
	}
	refused := fmt.Errorf("nobody: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for range 2 {
		if !o.IsNew(refused) || !o.IsNew(errors.New("status 401")) {
			t.Error("a reason is not told")
		}
		if o.IsNew(&net.OpError{Op: "write", Err: syscall.ECONNREFUSED}) || o.IsNew(errors.New("status 401")) {
			t.Error("a reason is told again")
		}
		if !o.End() || o.End() {
			t.Error("the outage does not end once")
		}
	}
}

// Of errors that are never the same the log does not have all.
func TestReasonsAreBounded(t *testing.T) {
	var o Outage
	told := 0
	for port := range 1000 {
		if o.IsNew(fmt.Errorf("read from port %d", port)) {
			told++
		}
	}
	if told != mostReasons {
		t.Errorf("%d reasons were told, want %d", told, mostReasons)
	}
}
