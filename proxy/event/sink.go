package event

import (
	"context"
	"errors"
	"fmt"
	"time"
)

var errHangs = errors.New("what was written is not taken")

// sink is one event log. It is for one goroutine.
type sink interface {
	// send delivers records, each as Record.encode made it. With a nil error all
	// were taken but those that the delivery names; with any other none is known to
	// be. It may be asked to deliver the same again.
	send(ctx context.Context, records [][]byte) (delivery, error)
	close() error
}

// delivery names the records of a batch that were not taken.
type delivery struct {
	again    []int // by their index: to be sent again
	waits    error // why one of them is
	rejected []int // not wanted, however often they come
	why      error // of one of them
	// lost counts those that were not wanted and that the sink does not name.
	lost int
}

// refusedError says that a sink does not want a batch for what is in it: parts of
// it may do.
type refusedError struct{ err error }

func (e *refusedError) Error() string { return e.err.Error() }
func (e *refusedError) Unwrap() error { return e.err }

// laterError says when a sink wants to be asked again.
type laterError struct {
	err   error
	after time.Duration
}

func (e *laterError) Error() string { return fmt.Sprintf("%v, again in %v", e.err, e.after) }
func (e *laterError) Unwrap() error { return e.err }

// laterOf is the time that an error asks for, 0 if it does not.
func laterOf(err error) time.Duration {
	var later *laterError
	if errors.As(err, &later) {
		return later.after
	}
	return 0
}

// patient is a sink whose writes nobody can interrupt, such as that to a pipe which is
// not read: it waits for them as long as for any answer, and not beyond the end of ctx.
type patient struct {
	sink
	timeout time.Duration
	writing chan sent // a write that nobody waited for to its end; nil is none
}

type sent struct {
	delivery delivery
	err      error
}

// send implements sink. While a write hangs it is waited for, and nothing else is written:
// who sends again sends the same.
func (p *patient) send(ctx context.Context, records [][]byte) (delivery, error) {
	if p.writing == nil {
		written := make(chan sent, 1)
		p.writing = written
		go func() {
			d, err := p.sink.send(ctx, records)
			written <- sent{d, err}
		}()
	}
	timer := time.NewTimer(p.timeout)
	defer timer.Stop()
	select {
	case s := <-p.writing:
		p.writing = nil
		return s.delivery, s.err
	case <-timer.C:
		return delivery{}, errHangs
	case <-ctx.Done():
		return delivery{}, ctx.Err()
	}
}

// close leaves open what is written to.
func (p *patient) close() error {
	if p.writing != nil {
		return nil
	}
	return p.sink.close()
}
