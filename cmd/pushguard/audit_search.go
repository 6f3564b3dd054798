package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/pushguard/pushguard/proxy/audit"
)

// auditSearch is one reading of the logs.
type auditSearch struct {
	*auditCommand
	out      recordWriter
	outlooks audit.Outlooks
	latest   []audit.Line
	read     int       // records
	wanted   int       // of them
	at       time.Time // of the last that was read
}

// readAll takes every record, and shows how far it is.
func (s *auditSearch) readAll(ctx context.Context, stderr io.Writer, skipped *audit.Skipped) error {
	shown := startReading(stderr, "reading", audit.Size(s.files))
	defer shown.end()
	if isTerminal(s.out.out) {
		s.out.out = shown.above(s.out.out)
	}
	for line, err := range audit.Read(s.files, skipped) {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return s.stopped()
		}
		shown.add(len(line.Text) + 1)
		if err := s.take(line); err != nil {
			return err
		}
	}
	return nil
}

// take writes a record, or keeps what is needed of it until the end.
func (s *auditSearch) take(line audit.Line) error {
	s.read++
	s.at = line.Time
	if !s.filter.Matches(&line.Record) {
		return nil
	}
	s.wanted++
	switch {
	case s.wouldBe:
		s.outlooks.Add(&line.Record)
	case s.limit > 0:
		s.latest = keepLatest(s.latest, line, s.limit)
	default:
		return s.out.write(&line)
	}
	return nil
}

// stopped says what was done of a search that did not come to its end.
func (s *auditSearch) stopped() error {
	did := "shown"
	if s.wouldBe || s.limit > 0 {
		did = "found, and none is shown"
	}
	until := ""
	if s.read > 0 {
		until = ", until " + s.at.UTC().Format(time.RFC3339)
	}
	return fmt.Errorf("stopped before the end of the logs: %s read%s, %d of them %s", plural(s.read, "record"), until, s.wanted, did)
}

// end writes what was kept.
func (s *auditSearch) end() error {
	for i := range s.latest {
		if err := s.out.write(&s.latest[i]); err != nil {
			return err
		}
	}
	if s.wouldBe {
		return s.tell(s.out.out, s.outlooks.All())
	}
	return nil
}

// keepLatest appends the line and lets go of the first, if there are more than n.
func keepLatest(lines []audit.Line, line audit.Line, n int) []audit.Line {
	line.Text = append([]byte(nil), line.Text...)
	if lines = append(lines, line); len(lines) > n {
		lines[0] = audit.Line{}
		lines = lines[1:]
	}
	return lines
}

// tell writes the outlooks of the jobs and then of their owners; in JSON the former
// have the field job, the latter jobs.
func (c *auditCommand) tell(stdout io.Writer, jobs []audit.Outlook) error {
	if c.output != "json" {
		return tellOutlooks(stdout, jobs)
	}
	encoder := json.NewEncoder(stdout)
	encoder.SetEscapeHTML(false)
	for _, job := range jobs {
		if err := encoder.Encode(job); err != nil {
			return err
		}
	}
	for _, owner := range audit.ByOwner(jobs) {
		if err := encoder.Encode(owner); err != nil {
			return err
		}
	}
	return nil
}
