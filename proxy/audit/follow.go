package audit

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// Follow calls visit with each record of the log at path, as Read yields them, and then
// with those that are written after, across rotations, until ctx ends or visit fails.
// How often it looks is every. A line whose end is not written yet waits for it.
func Follow(ctx context.Context, path string, every time.Duration, skipped *Skipped, visit func(Line) error) error {
	files, err := openLog(path, skipped)
	if err != nil {
		return err
	}
	f := follower{path: path, skipped: skipped, visit: visit}
	defer func() { closeAll(f.files) }()
	f.files = files
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := f.drain(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// follower has the files that are not read to their end yet: the last of them is still
// written to, or was when it was opened.
type follower struct {
	path    string
	skipped *Skipped
	visit   func(Line) error
	files   []*os.File

	plain  io.Closer     // of the first file, if it is compressed
	reader *bufio.Reader // of the first file
	line   []byte        // what there is of its next line
	n      int           // its number
	read   int64         // bytes of the file
}

// drain reads what there is.
func (f *follower) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		// What came before the file was set aside has to be read before the next is
		// begun, so it is looked for first.
		next, err := f.newer()
		if err != nil {
			return err
		}
		if err := f.first(ctx); err != nil {
			return err
		}
		f.files = append(f.files, next...)
		if len(f.files) == 1 {
			return f.truncated()
		}
		if err := f.end(); err != nil {
			return err
		}
	}
	return nil
}

// newer opens the files that were begun after the last one that is open.
func (f *follower) newer() ([]*os.File, error) {
	last := f.files[len(f.files)-1]
	all, err := openLog(f.path, new(Skipped)) // what cannot be opened was named at the beginning
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // between being set aside and begun anew
	}
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(file *os.File) bool { return same(file, last) })
	if i < 0 {
		i = len(all) - 1 // it was set aside by others, or deleted
		if all[i].Name() == f.path {
			i-- // what is there now follows
		}
	}
	closeAll(all[:i+1])
	return all[i+1:], nil
}

// first reads the first file to its present end.
func (f *follower) first(ctx context.Context) error {
	if f.reader == nil {
		if err := f.open(); err != nil {
			return f.damaged(err)
		}
	}
	for ctx.Err() == nil {
		before := len(f.line)
		line, err := readLine(f.reader, f.line)
		f.line = line
		f.read += int64(len(line) - before)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return f.damaged(fmt.Errorf("%s: %w", f.files[0].Name(), err))
		}
		if err := f.tell(); err != nil {
			return err
		}
	}
	return nil
}

// open begins the first file, which may be compressed if it was set aside.
func (f *follower) open() error {
	if !isCompressed(f.files[0].Name()) {
		f.reader = bufio.NewReaderSize(f.files[0], 64<<10)
		return nil
	}
	plain, err := Decompress(f.files[0])
	if err != nil {
		return fmt.Errorf("%s: %w", f.files[0].Name(), err)
	}
	f.plain, f.reader = plain, bufio.NewReaderSize(plain, 64<<10)
	return nil
}

// damaged notes that no more can be read of the first file, if it was set aside.
func (f *follower) damaged(err error) error {
	if f.files[0].Name() == f.path {
		return err
	}
	f.skipped.Damaged = append(f.skipped.Damaged, err.Error())
	f.reader, f.line = bufio.NewReader(strings.NewReader("")), f.line[:0]
	return nil
}

// tell visits the line.
func (f *follower) tell() error {
	line := f.line
	f.line = f.line[:0]
	f.n++
	text := bytes.TrimSpace(line)
	if len(text) == 0 {
		return nil
	}
	record, ok := parse(text)
	if !ok {
		f.skipped.add(f.files[0].Name(), f.n)
		return nil
	}
	return f.visit(Line{record, text})
}

// end goes on to the next file. What is left of the last line of this one is torn.
func (f *follower) end() error {
	if len(f.line) > 0 {
		if err := f.tell(); err != nil {
			return err
		}
	}
	if f.plain != nil {
		_ = f.plain.Close()
		f.plain = nil
	}
	_ = f.files[0].Close()
	f.files, f.reader, f.line, f.n, f.read = f.files[1:], nil, nil, 0, 0
	return nil
}

// truncated begins anew with a file that has become shorter than what was read of it.
func (f *follower) truncated() error {
	info, err := f.files[0].Stat()
	if err != nil {
		return fmt.Errorf("follow the audit log: %w", err)
	}
	if info.Size() >= f.read {
		return nil
	}
	if _, err := f.files[0].Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("follow the audit log: %w", err)
	}
	f.reader, f.line, f.n, f.read = nil, f.line[:0], 0, 0
	return nil
}
