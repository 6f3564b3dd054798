package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxSpans is how many places of damage in one file are told apart. Behind
// them what is whole is set aside together with what is not.
const maxSpans = 4096

// source is one file that a log is restored from.
type source struct {
	path string
	kind kind
	gen  uint64
	info fs.FileInfo
	size int64 // bytes that must be there

	header header
	whole  bool    // the header is
	bad    []span  // what else is not
	early  bool    // an empty file, or a snapshot without its end
	keep   *Damage // not set aside yet
}

// span is a part of a file.
type span struct{ begin, end int64 }

var generationFile = regexp.MustCompile(`^([0-9]+)\.(log|snapshot)(\.tmp|\.damaged|\.damaged\.tmp)?$`)

// find returns the files of the log in the order in which they are restored,
// those that nothing needs any more, and the highest generation there was.
func (l *Log) find() (sources []*source, stale []string, last uint64, err error) {
	entries, err := os.ReadDir(l.dir.path)
	if err != nil {
		return nil, nil, 0, err
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), l.name+".")
		part := generationFile.FindStringSubmatch(rest)
		if !ok || part == nil {
			continue
		}
		gen, err := strconv.ParseUint(part[1], 10, 63)
		if err != nil {
			continue
		}
		last = max(last, gen)
		path := filepath.Join(l.dir.path, e.Name())
		switch {
		case strings.HasSuffix(part[3], tmp):
			stale = append(stale, path)
		case part[3] == "" && part[2] == logKind.String():
			sources = append(sources, &source{path: path, kind: logKind, gen: gen})
		case part[3] == "":
			sources = append(sources, &source{path: path, kind: snapshotKind, gen: gen})
		}
	}
	sources, old := inOrder(sources)
	return sources, append(stale, old...), last, nil
}

// inOrder returns the newest snapshot and the logs that belong behind it, and
// the paths of the others.
func inOrder(all []*source) (sources []*source, stale []string) {
	var newest uint64
	for _, s := range all {
		if s.kind == snapshotKind {
			newest = max(newest, s.gen)
		}
	}
	for _, s := range all {
		if s.gen < newest {
			stale = append(stale, s.path)
		} else {
			sources = append(sources, s)
		}
	}
	slices.SortFunc(sources, func(a, b *source) int {
		return cmp.Or(cmp.Compare(a.gen, b.gen), cmp.Compare(b.kind, a.kind)) // of a generation the snapshot first
	})
	return sources, stale
}

// restore reads what there is of the log. It changes no file unless all went
// well.
func (l *Log) restore(each func(record []byte) error) error {
	sources, stale, last, err := l.find()
	if err != nil {
		return err
	}
	sources, more, err := l.readHeaders(sources)
	if err != nil {
		return err
	}
	for _, s := range sources {
		if err := s.read(each); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
	}
	for _, s := range sources {
		if len(s.bad) > 0 || s.early {
			l.damaged = true
			l.dir.setAside(s)
		}
	}
	for _, path := range append(stale, more...) {
		_ = os.Remove(path) // what stays is removed by the next start
	}
	l.files, l.gen = sources, last
	return nil
}

// readHeaders returns the sources that count, with their headers and a mark
// for each, and the paths of those that do not: logs without records, and logs
// behind a gap.
func (l *Log) readHeaders(all []*source) (sources []*source, stale []string, err error) {
	var snapshot uint64
	for _, s := range all {
		if err := s.readHeader(l.name); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.path, err)
		}
		if s.kind == snapshotKind {
			snapshot = s.gen
		}
		empty := s.kind == logKind && s.whole && s.size == headerLen
		if empty || s.header.gap && s.gen != snapshot {
			stale = append(stale, s.path)
			continue
		}
		sources = append(sources, s)
		if s.header.mark != (mark{}) {
			l.mark = s.header.mark
		}
	}
	for _, s := range sources {
		if s.header.mark == (mark{}) {
			s.header.mark = l.mark
		}
	}
	return sources, stale, nil
}

// readHeader takes the mark, if the header is not whole, from the frame behind
// it, if that is. Else it is left to what other files say.
func (s *source) readHeader(name string) error {
	f, err := openRead(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.info, err = f.Stat(); err != nil {
		return err
	}
	s.size = s.info.Size()
	b := make([]byte, headerLen+markLen)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.header, s.whole, err = parseHeader(b[:n])
	if !s.whole && n == len(b) {
		return s.guessMark(io.NewSectionReader(f, headerLen, s.size-headerLen), mark(b[headerLen:]))
	}
	if s.whole && err == nil {
		err = s.header.is(s.kind, name, s.gen)
	}
	return err
}

func (s *source) guessMark(r io.Reader, m mark) error {
	frame, err := newScanner(r, m, headerLen, s.size).frame()
	if frame != nil {
		s.header.mark = m
	}
	return err
}

// read calls each for all records that are whole and notes what is not.
func (s *source) read(each func(record []byte) error) error {
	f, err := openRead(s.path)
	if err != nil {
		return err
	}
	defer f.Close()
	begin := int64(0)
	if s.whole {
		begin = headerLen
	}
	if _, err := f.Seek(begin, io.SeekStart); err != nil {
		return err
	}
	bad, ended, err := readFrames(f, s.header.mark, begin, s.size, each)
	s.bad, s.early = bad, s.size == 0 || s.kind == snapshotKind && !ended
	return err
}

// readFrames reads what is between the offsets at and end of a file. It returns
// what is not whole, and whether the last frame was an empty one.
func readFrames(r io.Reader, m mark, at, end int64, each func(record []byte) error) (bad []span, ended bool, err error) {
	if m == (mark{}) {
		return addSpan(nil, at, end), false, nil // zeroed, and in it every place would look like a mark
	}
	s := newScanner(r, m, at, end)
	for {
		unit, begin, next, err := s.next()
		if errors.Is(err, io.EOF) {
			return addSpan(bad, at, end), ended, nil
		}
		if err != nil {
			return nil, false, err
		}
		ok, err := eachRecord(unit, each)
		if err != nil {
			return nil, false, fmt.Errorf("record at %d: %w", begin, err)
		}
		if ok {
			bad = addSpan(bad, at, begin)
			at = next
		}
		ended = len(unit) == 0
	}
}

func addSpan(spans []span, begin, end int64) []span {
	switch {
	case begin >= end:
	case len(spans) == maxSpans:
		spans[maxSpans-1].end = end
	default:
		return append(spans, span{begin, end})
	}
	return spans
}

// setAside names what of the file is not whole, and copies it. If that fails
// the file is kept.
func (d *Dir) setAside(s *source) {
	g := &Damage{File: s.path, Places: len(s.bad), Early: s.early}
	for _, each := range s.bad {
		g.Bytes += each.end - each.begin
	}
	if len(s.bad) > 0 {
		g.Err = copySpans(s.path, s.bad)
	}
	switch {
	case g.Err != nil:
		s.keep = g
	case len(s.bad) > 0:
		g.SetAside = s.path + damaged
	}
	s.bad = nil
	d.mu.Lock()
	d.damage = append(d.damage, g)
	d.mu.Unlock()
}

func copySpans(path string, spans []span) error {
	from, err := openRead(path)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := createTmp(path + damaged)
	if err != nil {
		return err
	}
	for _, each := range spans {
		if err == nil {
			_, err = io.Copy(to, io.NewSectionReader(from, each.begin, each.end-each.begin))
		}
	}
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close()); err == nil {
		err = finish(path + damaged)
	}
	if err != nil {
		_ = os.Remove(path + damaged + tmp)
	}
	return err
}

// drop removes a file that a snapshot replaced, or sets it aside whole if what
// of it is damaged could not be copied.
func (d *Dir) drop(s *source) error {
	if s.keep == nil {
		return os.Remove(s.path)
	}
	err := os.Rename(s.path, s.path+damaged)
	d.mu.Lock()
	defer d.mu.Unlock()
	if s.keep.Err = err; err == nil {
		s.keep.SetAside = s.path + damaged
	}
	return err
}
