package seldom

import (
	"errors"
	"syscall"
)

// mostReasons is how many reasons the log has of one outage: some errors tell a time, or a
// port, and are never the same.
const mostReasons = 8

// Outage is that of one peer, of which the log has each reason once: who does not answer
// may answer by now, and want another password. The zero value is none. It is not safe for
// concurrent use.
type Outage struct{ told map[string]bool }

// IsNew reports whether the log is to have this reason, and takes it to have it from then on.
func (o *Outage) IsNew(reason error) bool {
	text := reason.Error()
	if no := syscall.Errno(0); errors.As(reason, &no) {
		text = no.Error() // the same, whatever was tried
	}
	if o.told[text] || len(o.told) >= mostReasons {
		return false
	}
	if o.told == nil {
		o.told = map[string]bool{}
	}
	o.told[text] = true
	return true
}

// End ends the outage, and reports whether there was one.
func (o *Outage) End() bool {
	was := len(o.told) > 0
	clear(o.told)
	return was
}
