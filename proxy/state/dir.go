package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrClosed is returned for what is asked of a Dir, or of a Log, that was
// closed.
var ErrClosed = errors.New("state is closed")

// Options say how a directory is used. The zero value is usable.
type Options struct {
	// Wait is how long Open waits for another owner to go. With 0 it does not.
	Wait time.Duration
	// Sync says when a log is made to survive the loss of power.
	Sync Sync
	// Interval is the time between two syncs with SyncInterval, and between
	// two looks at whether the files are still there. 0 means a second.
	Interval time.Duration
}

// Dir is a state directory and owns it. It is safe for concurrent use.
type Dir struct {
	path string
	o    Options
	lock *os.File

	mu     sync.Mutex
	closed bool
	logs   map[string]*Log // nil while it is restored
	damage []*Damage
}

// Open takes the directory at path, and makes it, with mode 0700, if it is not
// there. One that is there keeps its mode.
//
// If another process has it, Open waits up to o.Wait or until ctx ends, then
// returns an error that is ErrLocked and says who has it since when. An owner
// that was killed has it no more. If the directory is of a newer version the
// error is ErrVersion; if it holds other things than state it is refused too.
// Nothing in it was changed then.
func Open(ctx context.Context, path string, o Options) (*Dir, error) {
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	d := &Dir{path: path, o: o, logs: map[string]*Log{}}
	if err := d.open(ctx); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", path, err)
	}
	return d, nil
}

func (d *Dir) open(ctx context.Context) error {
	if err := makeDir(d.path); err != nil {
		return err
	}
	// Once before anything is written, and again as the owner.
	if _, err := readVersion(d.path); err != nil {
		return err
	}
	lock, err := lockFile(ctx, filepath.Join(d.path, lockName), d.o.Wait)
	if err != nil {
		return err
	}
	fresh, err := readVersion(d.path)
	if err == nil && fresh {
		err = writeFile(filepath.Join(d.path, versionName), []byte(versionText))
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	d.lock = lock
	return nil
}

// Close writes and syncs what was appended, and gives the directory up. The
// error says what could not be written. Closing again returns nil.
//
// A Compact that is under way ends at its next record and is waited for, so
// the caller must hold no lock that its emit needs.
func (d *Dir) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	logs := slices.Collect(maps.Values(d.logs))
	d.mu.Unlock()
	var errs []error
	for _, l := range logs {
		if l != nil {
			errs = append(errs, l.close())
		}
	}
	return errors.Join(append(errs, d.lock.Close())...)
}

// Sub returns the path of a directory in d for those who bring files of their
// own. It is made with mode 0700 if it is not there. Names are as for Log.
func (d *Dir) Sub(name string) (string, error) {
	path := filepath.Join(d.path, name)
	err := checkName(name)
	if err == nil {
		err = makeDir(path)
	}
	if err != nil {
		return "", fmt.Errorf("state: %w", err)
	}
	return path, nil
}

// Damage returns what was found torn or corrupt since Open, in the order it
// was found.
func (d *Dir) Damage() []Damage {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]Damage, 0, len(d.damage))
	for _, each := range d.damage {
		out = append(out, *each)
	}
	return out
}

// Damage is what of one file was not whole.
type Damage struct {
	// File is the path of the file.
	File string
	// Bytes is how many bytes are not whole, Places in how many places.
	Bytes  int64
	Places int
	// Early says that a snapshot ends before its end, or that a file is empty.
	Early bool
	// SetAside is the path of the file with those bytes. It is empty if there
	// are none, or while they could not be copied, which Err then explains; the
	// file itself is kept in that case.
	SetAside string
	Err      error
}

// String is a line for a log.
func (g Damage) String() string {
	s := fmt.Sprintf("%s: %d bytes in %d places are not whole", g.File, g.Bytes, g.Places)
	if g.Early {
		s += ", the end is missing"
	}
	if g.SetAside != "" {
		s += ", set aside in " + g.SetAside
	}
	if g.Err != nil {
		s += ", not set aside: " + g.Err.Error()
	}
	return s
}

// owned returns an error if the lock file is no longer the one that was
// locked, so that somebody else may own what is there now.
func (d *Dir) owned() error {
	still, err := isStill(d.lock, filepath.Join(d.path, lockName))
	if err != nil {
		return fmt.Errorf("state directory %s: its lock file cannot be looked at: %w", d.path, err)
	}
	if !still {
		return fmt.Errorf("state directory %s: its lock file was removed or replaced", d.path)
	}
	return nil
}

const (
	versionName = "VERSION"
	version     = 1
	versionText = "pushguard state 1\n"
)

// ErrVersion is returned for state that another version of pushguard wrote and
// this one cannot read.
var ErrVersion = errors.New("unknown version of the state")

// readVersion returns whether the directory is a fresh one, without state.
func readVersion(path string) (fresh bool, err error) {
	f, err := openRead(filepath.Join(path, versionName))
	if errors.Is(err, fs.ErrNotExist) {
		return true, checkEmpty(path)
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	text := make([]byte, 64)
	n, _ := f.Read(text)
	if got := string(text[:n]); got != versionText {
		return false, fmt.Errorf("%w: file %s reads %.40q, this pushguard knows %q\n"+
			"hint: run the version that wrote it, or name another directory", ErrVersion, versionName, got, versionText)
	}
	return false, nil
}

// checkEmpty refuses a directory with other things in it: it was named by
// mistake, or has lost its version. What a fresh volume brings is no such thing.
func checkEmpty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		ours := slices.Contains([]string{lockName, versionName, versionName + tmp, "lost+found"}, e.Name())
		if !ours && !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%w: there is %.40q but no file %s\nhint: name an empty directory", ErrVersion, e.Name(), versionName)
		}
	}
	return nil
}
