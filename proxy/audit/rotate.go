package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// rotatedAt is the end of a rotated file's name, in UTC: names sort by time.
const rotatedAt = "20060102T150405.000000000Z"

// Rotation says when a log's file is set aside, and how long what was set aside
// stays. 0 does not limit.
type Rotation struct {
	// MaxSize is how many bytes one file may have, MaxAge how long one file is
	// written to.
	MaxSize int64
	MaxAge  time.Duration
	// KeepFiles is how many rotated files stay, KeepBytes how many bytes all files
	// of the log may take together, the one that is written among them, and
	// KeepAge how long ago a rotated file was last written to.
	KeepFiles int
	KeepBytes int64
	KeepAge   time.Duration
	// Compress is how a file is compressed once it was set aside.
	Compress Compression
}

// File is the file of a log, which rotates itself: audit.jsonl becomes
// audit.jsonl.20260304T050607.000000000Z. What others do to it, a rename or a
// truncation, it notices at the next Tend. Safe for concurrent use.
type File struct {
	path     string
	rotation Rotation
	now      func() time.Time

	mu    sync.Mutex
	file  *os.File
	lines lineWriter // to file
	size  int64
	born  time.Time // when its first line was written; zero if it has none
	stuck error     // why it could not be rotated; nil, or tried again at the next Tend
	gone  error     // why there is no file in place of the one that was deleted; nil if there is

	compressing sync.Mutex // by one Tend at a time, while lines are written
	failed      time.Time  // when that went wrong last
}

// OpenFile opens the log's file, as Open does, and deletes the rotated ones that
// the rotation no longer keeps: a guard that was killed may have left some.
func OpenFile(path string, r Rotation) (*File, error) {
	f := &File{path: path, rotation: r, now: time.Now}
	if err := f.open(); err != nil {
		return nil, err
	}
	if err := errors.Join(f.removeUnfinished(), f.prune()); err != nil {
		return nil, errors.Join(err, f.file.Close())
	}
	return f, nil
}

// open opens the path in place of what is open, which stays if that fails.
func (f *File) open() error {
	file, torn, err := openToAppend(f.path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if f.file != nil {
		_ = f.file.Close() // it was written to unbuffered: there is nothing to lose
	}
	f.file, f.lines, f.size, f.born = file, lineWriter{file, torn}, info.Size(), birth(file, info)
	return nil
}

// birth is when the first line of a file was written, by its own time, or else by
// the file's.
func birth(file *os.File, info os.FileInfo) time.Time {
	if info.Size() == 0 {
		return time.Time{}
	}
	line, _ := bufio.NewReader(io.NewSectionReader(file, 0, longestLine)).ReadBytes('\n')
	var r struct{ Time time.Time }
	if json.Unmarshal(line, &r) != nil || r.Time.IsZero() {
		return info.ModTime()
	}
	return r.Time
}

// Write appends one line, to a new file if it is time for one. That the file
// could not be rotated is no reason not to write: Tend tells of it. That it was deleted
// and there can be no other, as without its directory, is one.
func (f *File) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due(len(line)) && f.stuck == nil {
		f.stuck = f.rotate()
	}
	if f.gone != nil {
		return 0, f.gone
	}
	if f.size == 0 {
		f.born, f.lines.torn = f.now(), false
	}
	n, err := f.lines.Write(line)
	f.size += int64(n)
	return n, err
}

// lineWriter writes lines. One that was written in part is ended before the next, so that
// none ever continues another.
type lineWriter struct {
	w    io.Writer
	torn bool // the last line lacks its end
}

func (l *lineWriter) Write(line []byte) (int, error) {
	end := 0
	if l.torn {
		line, end = append([]byte{'\n'}, line...), 1
	}
	n, err := l.w.Write(line)
	if n > 0 {
		l.torn = line[n-1] != '\n'
	}
	return max(n-end, 0), err
}

// due reports whether a line of n bytes belongs into a new file.
func (f *File) due(n int) bool {
	if f.size == 0 {
		return false
	}
	r := f.rotation
	return r.MaxSize > 0 && f.size+int64(n) > r.MaxSize || r.MaxAge > 0 && f.now().Sub(f.born) >= r.MaxAge
}

// rotate sets the file aside. A crash at any point of it leaves every file under
// a name that is read and counted; the limit of bytes holds all the while, since
// what goes goes before anything is written to the new file.
func (f *File) rotate() error {
	if _, err := f.moved(); err != nil {
		return err
	}
	aside, err := f.aside()
	if err != nil {
		return err
	}
	if err := os.Rename(f.path, aside); err != nil {
		return fmt.Errorf("rotate the audit log: %w", err)
	}
	if err := f.open(); err != nil {
		return errors.Join(err, os.Rename(aside, f.path)) // where it is looked for, and written to
	}
	return f.prune()
}

// aside is a name that no file has and that sorts behind all rotated before, even
// if the clock was set back.
func (f *File) aside() (string, error) {
	rotated, err := Rotated(f.path)
	if err != nil {
		return "", err
	}
	at := f.now().UTC()
	if n := len(rotated); n > 0 {
		if last := rotatedTime(f.path, rotated[n-1]); !at.After(last) {
			at = last.Add(1)
		}
	}
	return f.path + "." + at.Format(rotatedAt), nil
}

// moved opens the path again if the file there is not the one that is open, as
// after an external rotation, and reports whether it was.
func (f *File) moved() (bool, error) {
	open, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	f.size = open.Size() // which a truncation may have changed
	there, err := os.Lstat(f.path)
	f.gone = nil
	if err == nil && os.SameFile(open, there) {
		return false, nil
	}
	err = f.open()
	if deleted(open) {
		f.gone = err // else it was moved, and is read where it is now
	}
	return true, err
}

// deleted reports whether nobody can find what is written to an open file any more.
func deleted(open os.FileInfo) bool {
	s, ok := open.Sys().(*syscall.Stat_t)
	return ok && s.Nlink == 0
}

// Tend does what is due without a line to write: it follows the file that others
// have moved or truncated, sets aside the one that is old, deletes those that are kept
// no longer and compresses one that is not yet, while lines are written; where that goes
// wrong, not for a minute. Its error is also that of a rotation that failed before.
func (f *File) Tend() error {
	err := f.tend()
	if !f.compressing.TryLock() {
		return err
	}
	defer f.compressing.Unlock()
	if !f.failed.IsZero() && time.Since(f.failed) < compressAgain {
		return err
	}
	f.failed = time.Time{}
	failed := f.compressOne()
	if failed != nil {
		f.failed = time.Now()
	}
	return errors.Join(err, failed)
}

func (f *File) tend() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.stuck
	f.stuck = nil
	if _, moved := f.moved(); moved != nil {
		return errors.Join(err, moved)
	}
	if f.due(0) {
		err = errors.Join(err, f.rotate())
	}
	return errors.Join(err, f.prune())
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}

// prune deletes the oldest rotated files until the rotation's limits hold.
func (f *File) prune() error {
	rotated, err := Rotated(f.path)
	if err != nil {
		return err
	}
	sizes, total := make([]int64, len(rotated)), max(f.size, f.rotation.MaxSize)
	for i, name := range rotated {
		if info, err := os.Lstat(name); err == nil {
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i, name := range rotated {
		if !f.spent(len(rotated)-i, total, rotatedTime(f.path, name)) {
			break
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("rotate the audit log: %w", err)
		}
		total -= sizes[i]
	}
	return nil
}

// spent reports whether the oldest of the rotated files is to go.
func (f *File) spent(files int, bytes int64, at time.Time) bool {
	r := f.rotation
	return r.KeepFiles > 0 && files > r.KeepFiles ||
		r.KeepBytes > 0 && bytes > r.KeepBytes ||
		r.KeepAge > 0 && f.now().Sub(at) > r.KeepAge
}

// Rotated returns the files that were set aside from the log at path, oldest
// first. Only regular files whose names end in a time, or that and .gz or .zst, are
// among them: what others have set aside is theirs. Of a file that is there compressed
// and not, the latter is.
func Rotated(path string) ([]string, error) {
	dir, base := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return nil, fmt.Errorf("list the audit logs: %w", err)
	}
	var out []string
	for _, e := range entries {
		name := dir + e.Name()
		if strings.HasPrefix(e.Name(), base+".") && e.Type().IsRegular() && !rotatedTime(path, name).IsZero() {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return slices.CompactFunc(out, func(next, before string) bool {
		return isCompressed(next) && strings.HasPrefix(next, before)
	}), nil
}

// rotatedTime is when a file was set aside, by its name; zero if it has none.
func rotatedTime(path, name string) time.Time {
	end, _ := strings.CutPrefix(name, path+".")
	for _, suffix := range suffixes {
		end = strings.TrimSuffix(end, suffix)
	}
	at, err := time.Parse(rotatedAt, end)
	if err != nil || at.Format(rotatedAt) != end {
		return time.Time{}
	}
	return at
}
