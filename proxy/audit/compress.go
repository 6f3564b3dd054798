package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Compression is how a file that was set aside is compressed. The zero value does not.
type Compression string

// The compressions.
const (
	Gzip Compression = "gzip"
	Zstd Compression = "zstd"
)

// suffixes are the ends of the names of compressed files.
var suffixes = map[Compression]string{Gzip: ".gz", Zstd: ".zst"}

// unfinished ends the name of a file that is being compressed.
const unfinished = ".tmp"

// compressAgain is how long to wait after a file could not be compressed: on a full disk
// all work was in vain.
const compressAgain = time.Minute

// zstdWindow bounds the memory that reading a file may take.
const zstdWindow = 64 << 20

// Decompress reads what r holds, compressed by gzip or zstd or not at all, as its first
// bytes say.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return gzip.NewReader(in)
	case bytes.Equal(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		out, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return out.IOReadCloser(), nil
	}
	return io.NopCloser(in), nil
}

// compressOne compresses the oldest file that was set aside and is not yet. A crash at
// any point leaves the original, or both whole, of which Rotated names one.
func (f *File) compressOne() error {
	if f.rotation.Compress == "" {
		return nil
	}
	names, err := Rotated(f.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !isCompressed(name) {
			return f.compress(name)
		}
	}
	return nil
}

func isCompressed(name string) bool {
	return strings.HasSuffix(name, suffixes[Gzip]) || strings.HasSuffix(name, suffixes[Zstd])
}

// compress puts a compressed file in the place of one.
func (f *File) compress(name string) error {
	to := name + suffixes[f.rotation.Compress]
	err := compressFile(name, to+unfinished, f.rotation.Compress)
	if err == nil {
		err = os.Rename(to+unfinished, to)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil // it was deleted meanwhile
	}
	if err != nil {
		return errors.Join(fmt.Errorf("compress the audit log: %w", err), ignoreMissing(os.Remove(to+unfinished)))
	}
	return ignoreMissing(os.Remove(name))
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func compressFile(from, to string, by Compression) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	var w io.WriteCloser = gzip.NewWriter(out)
	if by == Zstd {
		if w, err = zstd.NewWriter(out, zstd.WithEncoderConcurrency(1)); err != nil {
			return err
		}
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Sync()
}

// removeUnfinished deletes what a guard that was killed had begun to compress, also where
// the original went meanwhile.
func (f *File) removeUnfinished() error {
	dir, _ := filepath.Split(f.path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return fmt.Errorf("list the audit logs: %w", err)
	}
	for _, e := range entries {
		name := dir + e.Name()
		to, ok := strings.CutSuffix(name, unfinished)
		if !ok || !isCompressed(to) || rotatedTime(f.path, to).IsZero() {
			continue
		}
		if err := ignoreMissing(os.Remove(name)); err != nil {
			return err
		}
	}
	return nil
}
