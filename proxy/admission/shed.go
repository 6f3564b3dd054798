package admission

import "fmt"

// Reason is why a push was shed. The zero value is none.
type Reason uint8

// The reasons.
const (
	Full      Reason = iota + 1 // as many wait as may, none of them of a job with more
	Displaced                   // it waited, and had to leave its place to a job with less
	Waited                      // its turn did not come in time
	Bytes                       // the bodies of pushes hold what they may
	Memory                      // the process has none left
	reasons
)

// String is the reason's word in metrics.
func (r Reason) String() string {
	switch r {
	case Full:
		return "full"
	case Displaced:
		return "displaced"
	case Waited:
		return "waited"
	case Bytes:
		return "bytes"
	case Memory:
		return "memory"
	default:
		return "unknown"
	}
}

// ShedError says that a push is not taken now. The same push may be later.
type ShedError struct {
	Reason Reason
	Limit  int64 // of pushes, or of bytes; of memory none is known
}

// Error says which limit is reached.
func (e *ShedError) Error() string {
	switch e.Reason {
	case Bytes:
		return fmt.Sprintf("the bodies of the pushes in flight take all they may, limit: %d bytes", e.Limit)
	case Memory:
		return "the guard's memory is full"
	default:
		return fmt.Sprintf("too many pushes at once, limit: %d", e.Limit)
	}
}
