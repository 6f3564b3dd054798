package demand

import "sync"

// room is what may be tracked and what is.
type room struct {
	maxSketches, maxBytes int

	mu              sync.Mutex
	sketches, bytes int
}

// take takes the room of one sketch, if there is.
func (r *room) take(bytes int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sketches >= r.maxSketches || bytes > r.maxBytes-r.bytes {
		return false
	}
	r.sketches++
	r.bytes += bytes
	return true
}

func (r *room) give(sketches, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sketches -= sketches
	r.bytes -= bytes
}

func (r *room) taken() (sketches, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sketches, r.bytes
}

// labelCost is the most bytes that a label of a job ever takes: the registers and the
// samples of two generations, the shapes with their examples, the name rounded up as
// the allocator does, and 384 bytes for the window and its share of a map that is half
// empty.
func labelCost(label string) int {
	return 2*(len(registers{})+sampled*9) + maxShapes*96 + roundUp(label) + 384
}

// jobCost is the most bytes that a job takes beside its labels: the name, its
// share of the map of jobs, and its own map.
func jobCost(name string) int { return roundUp(name) + 512 }

func roundUp(name string) int { return len(name) + len(name)/4 + 16 }
