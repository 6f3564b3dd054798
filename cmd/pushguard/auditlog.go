package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/pushguard/pushguard/proxy/audit"
)

// auditFlags say where decisions are written, and how long they stay.
type auditFlags struct {
	file              string
	all               bool
	maxSize, keepSize int64
	maxAge, keepAge   time.Duration
	keepFiles         int
	compress          audit.Compression
}

func (a *auditFlags) add(cmd *kingpin.CmdClause) {
	flag(cmd, "audit.file", "File to which one JSON line is appended for every push that was refused or changed. By default there is none, and the newest 1000 are kept in memory, for GET /guard/api/v1/audit.", &a.file, parseGiven).
		PlaceHolder("FILE")
	cmd.Flag("audit.all", "Keep a line of every push, not only for those refused or changed.").
		BoolVar(&a.all)
	flag(cmd, "audit.max-size", "How large the file may grow. It is then set aside under its name and the time, and a new one begun. 0 sets nothing aside by size.", &a.maxSize, orNone(parseSize)).
		Default("100MiB")
	flag(cmd, "audit.max-age", "How old its first line may grow. 0 sets nothing aside by age.", &a.maxAge, orNone(parseAge)).
		Default("1d")
	flag(cmd, "audit.retention.size", "How many bytes the file and those set aside may take together; the oldest go. 0 is no limit.", &a.keepSize, orNone(parseSize)).
		Default("1GiB")
	flag(cmd, "audit.retention.time", "How long a file that was set aside stays. 0 is for ever.", &a.keepAge, orNone(parseAge)).
		Default("30d")
	flag(cmd, "audit.retention.files", "How many files that were set aside stay. 0 is no limit.", &a.keepFiles, orNone(parseCount)).
		Default("100")
	flag(cmd, "audit.compress", "How files that were set aside are compressed: none, gzip or zstd. pushguard audit reads them all.", &a.compress, parseCompression).
		Default("none")
}

// orNone takes 0 for no limit.
func orNone[T any](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if s == "0" {
			return *new(T), nil
		}
		v, err := parse(s)
		if err != nil {
			err = fmt.Errorf("%w, or 0", err)
		}
		return v, err
	}
}

func (a *auditFlags) check() error { return checkRetention("audit", a.maxSize, a.keepSize) }

// checkRetention refuses bounds of a file that is set aside which leave no room for one.
func checkRetention(prefix string, maxSize, keepSize int64) error {
	if keepSize > 0 && maxSize >= keepSize {
		return flagFault("--%s.retention.size: it has to be more than --%[1]s.max-size, which one file may have", prefix)
	}
	return nil
}

// open returns the log: one in memory without --audit.file.
func (a *auditFlags) open(logger *slog.Logger) (*audit.Log, error) {
	if a.file == "" {
		return audit.InMemory(), nil
	}
	log, err := audit.Start(a.file, audit.Rotation{
		MaxSize: a.maxSize, MaxAge: a.maxAge, KeepFiles: a.keepFiles, KeepBytes: a.keepSize, KeepAge: a.keepAge, Compress: a.compress,
	}, func(err error) { logger.Error("The audit log is in trouble", "err", err) })
	if err != nil {
		return nil, flagFault("--audit.file: %v", err)
	}
	return log, nil
}
