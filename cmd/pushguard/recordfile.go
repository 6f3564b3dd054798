package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/audit"
	"github.com/pushguard/pushguard/proxy/record"
	"github.com/pushguard/pushguard/proxy/state"
)

// recordFlags say which pushes are kept for replay, and how long.
type recordFlags struct {
	file              string
	rate              int
	maxSize, keepSize int64
	keepAge           time.Duration
	compress          audit.Compression
}

func (f *recordFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "record.file", "File to which pushes are recorded for pushguard replay, redacted: values of samples are scaled, values of labels without bound become others of the same shape. None by default.", &f.file, parseGiven).
		PlaceHolder("FILE")
	flag(cmd, "record.rate", "How many pushes a second are recorded at most, over ten seconds; further ones are counted. 0 is no limit.", &f.rate, orNone(parseCount)).
		Default("100")
	flag(cmd, "record.max-size", "How large the file may grow before it is set aside as an audit log is. 0 sets nothing aside.", &f.maxSize, orNone(parseSize)).
		Default("100MiB")
	flag(cmd, "record.retention.size", "How many bytes the file and those set aside may take together; the oldest go. 0 is no limit.", &f.keepSize, orNone(parseSize)).
		Default("1GiB")
	flag(cmd, "record.retention.time", "How long a file that was set aside stays. 0 is for ever.", &f.keepAge, orNone(parseAge)).
		Default("7d")
	flag(cmd, "record.compress", "How files that were set aside are compressed: zstd, gzip or none.", &f.compress, parseCompression).
		Default("zstd")
}

func parseCompression(s string) (audit.Compression, error) {
	switch c := audit.Compression(s); c {
	case audit.Gzip, audit.Zstd:
		return c, nil
	case "none":
		return "", nil
	}
	return "", errors.New("want none, gzip or zstd")
}

func (f *recordFlags) check() error { return checkRetention("record", f.maxSize, f.keepSize) }

// open returns the recorder, nil without --record.file. What hides the values is kept
// in the state, or else made anew with each process.
func (f *recordFlags) open(dir *state.Dir, logger *slog.Logger) (*record.Recorder, error) {
	if f.file == "" {
		return nil, nil
	}
	var secret [32]byte
	if dir == nil {
		_, _ = rand.Read(secret[:]) // never fails
	} else {
		var err error
		if secret, _, err = dir.Secret("record"); err != nil {
			return nil, fmt.Errorf("--state.dir: %w", err)
		}
	}
	recorder, err := record.Open(record.Config{
		Path: f.file, Rate: f.rate, Secret: secret,
		Rotation: audit.Rotation{MaxSize: f.maxSize, KeepBytes: f.keepSize, KeepAge: f.keepAge, Compress: f.compress},
		OnError:  func(err error) { logger.Error("The recorded pushes are in trouble", "err", err) },
	})
	if err != nil {
		return nil, flagFault("--record.file: %v", err)
	}
	return recorder, nil
}

// runRecorder is a lifecycle that records until no request is left, and then what waits.
func runRecorder(ctx context.Context, r *record.Recorder) (execute func() error, interrupt func(error)) {
	return inContext(context.WithoutCancel(ctx), r.Run)
}
