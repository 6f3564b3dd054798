package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const (
	// maxFiles is how many files a folder may have.
	maxFiles = 1000
	// maxReadings is how often a folder is read until nobody changes it meanwhile.
	maxReadings = 5
)

// source is one file of a policy as it was read.
type source struct {
	name string
	data []byte
}

// Load reads the policy at a path: a file, or a folder of files. Of a folder those
// are the policy whose name ends in .yml or .yaml, in the order of their names, but
// for hidden ones and *_test.yml. The error is Faults if they can be read.
func Load(path string) (*Policy, error) {
	sources, err := readSources(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	return assemble(sources)
}

// Parse reads a policy. The error is Faults, which call the file name.
func Parse(name string, data []byte) (*Policy, error) {
	return assemble([]source{{name, data}})
}

// assemble makes a policy of its files.
func assemble(sources []source) (*Policy, error) {
	d := &decoder{}
	var files []file
	var tests []Test
	for _, s := range sources {
		d.source, d.end = s.name, spot{}
		if root := d.document(s.data); root != nil {
			f := d.file(root)
			files, tests = append(files, f), append(tests, d.compileTests(f.tests)...)
		}
	}
	var p *Policy
	if len(files) == len(sources) {
		p = d.compile(d.join(files))
	}
	if len(d.faults) > 0 {
		return nil, d.faults.sorted().in(sources)
	}
	p.digest, p.tests, p.sources = digest(sources), tests, sources
	for _, s := range sources {
		p.files = append(p.files, s.name)
	}
	return p, nil
}

// digest tells the bytes of these files from others, and with more than one file
// which bytes stand in which. Where the folder is, it does not tell.
func digest(sources []source) string {
	h := sha256.New()
	for _, s := range sources {
		if len(sources) > 1 {
			h.Write(binary.AppendUvarint([]byte(filepath.Base(s.name)+"\x00"), uint64(len(s.data))))
		}
		h.Write(s.data)
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}

// Stamp tells what would be read at a path, and the files named besides, from what
// was there at other times, for those who watch it; so does the reason why it cannot
// be read.
func Stamp(path string, besides []string) string {
	h := sha256.New()
	sources, err := readSources(path)
	for _, name := range besides {
		data, err := readFile(name)
		sources = append(sources, source{fmt.Sprint(name, err), data})
	}
	fmt.Fprintf(h, "%v\x00", err)
	for _, s := range sources {
		fmt.Fprintf(h, "%s\x00%d\x00%s", s.name, len(s.data), s.data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readSources reads a file or a folder.
func readSources(path string) ([]source, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return readStill(func() ([]source, error) { return readFolder(path) })
	}
	data, err := readBounded(f)
	return []source{{path, data}}, err
}

// readStill reads until two readings in a row are the same, so that what is read
// was there at one time: who changes a folder changes one file after another, and
// Kubernetes exchanges all of them while they are read.
func readStill(read func() ([]source, error)) ([]source, error) {
	before, err := read()
	for range maxReadings {
		again, errAgain := read()
		if err == nil && errAgain == nil && slices.EqualFunc(before, again, source.equal) {
			return again, nil
		}
		if err != nil && errAgain != nil {
			return nil, errAgain
		}
		before, err = again, errAgain
	}
	return nil, errors.New("the folder changes while it is read")
}

func (s source) equal(other source) bool {
	return s.name == other.name && string(s.data) == string(other.data)
}

// readFolder reads the files of a folder, in the order of their names.
func readFolder(folder string) ([]source, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var sources []source
	for _, e := range entries {
		if !isPolicy(e.Name()) {
			continue
		}
		if len(sources) == maxFiles {
			return nil, fmt.Errorf("%s: more than %d policy files", folder, maxFiles)
		}
		name := filepath.Join(folder, e.Name())
		data, err := readFile(name)
		if err != nil {
			return nil, err
		}
		sources = append(sources, source{name, data})
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("%s: no policy file in the folder: want *.yml or *.yaml", folder)
	}
	return sources, nil
}

// isPolicy reports whether the file of a folder is part of its policy.
func isPolicy(name string) bool {
	yaml := strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml")
	return yaml && !strings.HasPrefix(name, ".") && !IsTestFile(name)
}

// open opens a file. It does not wait for somebody to write to a pipe, which is empty
// then: the reload that waited would be the last one.
func open(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}

func readFile(name string) ([]byte, error) {
	f, err := open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f)
}

// readBounded reads no more than it takes to see that a file is too large.
func readBounded(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxSize+1)) }

// join makes one policy of the files of a folder. What there is only one of may
// stand in any of them, once.
func (d *decoder) join(files []file) file {
	whole := file{spot: files[0].spot, fallback: entry{where: "default"}}
	once := func(key string, first, again spot) bool {
		if first.written() && again.written() {
			d.fault(again, key, "stands in two files: first %s", first.from(again.file))
		}
		return !first.written() && again.written()
	}
	for i := range files {
		f := &files[i]
		whole.versioned = whole.versioned || f.versioned
		if once("auth", whole.auth.spot, f.auth.spot) {
			whole.auth = f.auth
		}
		if once("budget", whole.budget.spot, f.budget.spot) {
			whole.budget = f.budget
		}
		if once("fold_jobs", whole.foldJobs.spot, f.foldJobs.spot) {
			whole.foldJobs = f.foldJobs
		}
		if once("default", whole.fallback.spot, f.fallback.spot) {
			whole.fallback = f.fallback
		}
		whole.jobs = append(whole.jobs, f.jobs...)
	}
	if !whole.versioned {
		d.fault(whole.spot, "", "version is missing: want version: v1")
	}
	return whole
}
