package main

import (
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows on a terminal how far long work has come, and how long the rest
// will take. A nil one shows nothing. It is safe for concurrent use.
type progress struct {
	mu  sync.Mutex // the bar clears its line without a lock of its own
	bar *progressbar.ProgressBar
}

// startProgress shows the progress of so many items on stderr, of a number that is
// not known if total is negative. It returns nil where nobody would see it: stderr
// is no terminal, or one that cannot go back to the start of a line. Call end.
func startProgress(stderr io.Writer, what string, total int) *progress {
	return showProgress(stderr, int64(total), progressbar.OptionSetDescription(what), progressbar.OptionShowCount())
}

// startReading is startProgress of bytes.
func startReading(stderr io.Writer, what string, total int64) *progress {
	return showProgress(stderr, total, progressbar.OptionSetDescription(what), progressbar.OptionShowCount(), progressbar.OptionShowBytes(true))
}

func showProgress(stderr io.Writer, total int64, options ...progressbar.Option) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	options = append(
		options,
		progressbar.OptionSetWriter(stderr),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine of its own
	)
	return &progress{bar: progressbar.NewOptions64(total, options...)}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(file.Fd()))
}

// add says that n more are done. A terminal that went away is not the work's fault.
func (p *progress) add(n int) {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.bar.Add(n)
}

// end takes the line away, whether the work is done or was stopped.
func (p *progress) end() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.bar.Clear()
	_ = p.bar.Exit()
}

// above is w for lines that go above the progress, should both be one terminal.
func (p *progress) above(w io.Writer) io.Writer {
	if p == nil {
		return w
	}
	return aboveProgress{p, w}
}

type aboveProgress struct {
	*progress
	w io.Writer
}

// Write is part of io.Writer.
func (a aboveProgress) Write(b []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.bar.Clear()
	return a.w.Write(b)
}

// reader is r, what is read of it being done.
func (p *progress) reader(r io.Reader) io.Reader {
	if p == nil {
		return r
	}
	return readProgress{p, r}
}

type readProgress struct {
	*progress
	r io.Reader
}

// Read is part of io.Reader.
func (p readProgress) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.add(n)
	return n, err
}
