// Package leaktest holds tests to leaving no goroutine behind, and gives those that are
// ending the time they need on a busy machine: goleak itself waits for half a second.
package leaktest

import (
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is how long goroutines may take to end.
const patience = 30 * time.Second

// Main runs the tests of a package as goleak.VerifyTestMain does.
func Main(m *testing.M, ignored ...goleak.Option) {
	goleak.VerifyTestMain(patient{m, ignored}, ignored...)
}

type patient struct {
	*testing.M
	ignored []goleak.Option
}

// Run implements goleak.TestingM.
func (p patient) Run() int {
	code := p.M.Run()
	if code == 0 {
		_ = await(p.ignored) // goleak says what is left
	}
	return code
}

// None fails the test if goroutines are left that are not ignored.
func None(t testing.TB, ignored ...goleak.Option) {
	t.Helper()
	if err := await(ignored); err != nil {
		t.Error(err)
	}
}

func await(ignored []goleak.Option) error {
	for deadline := time.Now().Add(patience); ; {
		if err := goleak.Find(ignored...); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
