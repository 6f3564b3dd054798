package event

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// lines writes JSON lines to what cannot take them back.
type lines struct {
	w    io.Writer
	torn bool // the last line is there in part
	buf  bytes.Buffer
}

func (l *lines) close() error { return nil }

// send implements sink.
func (l *lines) send(_ context.Context, records [][]byte) (delivery, error) {
	l.buf.Reset()
	if l.torn {
		l.buf.WriteByte('\n')
	}
	for _, r := range records {
		l.buf.Write(r)
		l.buf.WriteByte('\n')
	}
	n, err := l.w.Write(l.buf.Bytes())
	if err == nil {
		l.torn = false
		return delivery{}, nil
	}
	if n > 0 {
		l.torn = l.buf.Bytes()[n-1] != '\n'
	}
	return delivery{}, err
}

// file appends JSON lines to a file, which may be renamed or removed by who keeps
// logs short: the next batch begins a new one.
type file struct {
	path string
	f    *os.File
	lines
}

// send implements sink. Of a batch that did not fit nothing is left.
func (f *file) send(ctx context.Context, records [][]byte) (delivery, error) {
	if err := f.open(); err != nil {
		return delivery{}, err
	}
	before, err := f.f.Stat()
	if err != nil {
		return delivery{}, err
	}
	torn := f.torn
	out, err := f.lines.send(ctx, records)
	if err != nil && f.f.Truncate(before.Size()) == nil {
		f.torn = torn
	}
	return out, err
}

// open opens the file unless what is open is still at its path.
func (f *file) open() error {
	if f.f != nil {
		mine, err := f.f.Stat()
		there, errThere := os.Lstat(f.path)
		if err == nil && errThere == nil && os.SameFile(mine, there) {
			return nil
		}
		_ = f.f.Close()
		f.f = nil
	}
	next, err := os.OpenFile(f.path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, fileMode)
	if err != nil {
		return err
	}
	info, err := next.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return errors.Join(fmt.Errorf("%s is no regular file", f.path), err, next.Close())
	}
	torn := false
	if info.Size() > 0 {
		var last [1]byte
		if _, err := next.ReadAt(last[:], info.Size()-1); err != nil {
			return errors.Join(err, next.Close())
		}
		torn = last[0] != '\n'
	}
	f.f, f.lines.w, f.lines.torn = next, next, torn
	return nil
}

func (f *file) close() error {
	if f.f == nil {
		return nil
	}
	return f.f.Close()
}
