package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

const logName = "spool"

// The kinds of records, by their first byte.
const (
	recordGroup = 1 // what waits of a group: nothing if no part follows
	recordWipe  = 2 // nothing waits
)

var methods = [...]string{http.MethodPut, http.MethodPost, http.MethodDelete}

var errRecord = errors.New("a record of the spool that cannot be read")

func appendText[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendGroup is the record of what waits of a group.
func appendGroup(dst []byte, id string, parts []*part) []byte {
	dst = appendText(append(dst, recordGroup), id)
	dst = binary.AppendUvarint(dst, uint64(len(parts)))
	for _, p := range parts {
		for i, m := range methods {
			if m == p.method {
				dst = append(dst, byte(i))
			}
		}
		dst = binary.AppendVarint(dst, p.came.UnixNano())
		for _, value := range p.header {
			dst = appendText(dst, value)
		}
		dst = appendText(dst, p.body)
	}
	return dst
}

// readGroup reads such a record behind its first byte.
func readGroup(record []byte) (id string, parts []*part, err error) {
	r := state.NewReader(record, errRecord)
	id = strings.Clone(r.Text())
	for range r.Count(7) {
		method := int(r.Byte())
		if method >= len(methods) {
			r.Fail()
			break
		}
		p := &part{method: methods[method], came: time.Unix(0, r.Varint())}
		for i := range p.header {
			p.header[i] = r.Text()
		}
		p.body = bytes.Clone(r.Take(r.Uvarint()))
		parts = append(parts, p)
	}
	if key := wire.KeyOf(id); r.Err() == nil && (r.Len() > 0 || key.Job() == "" || wire.NewKey(key.Labels()...).ID() != id) {
		return "", nil, errRecord
	}
	return id, parts, r.Err()
}

// restore applies a record to a spool that nobody uses yet.
func (s *Spool) restore(record []byte) error {
	switch {
	case len(record) == 1 && record[0] == recordWipe:
		s.entries = map[string]*entry{}
		return nil
	case len(record) == 0 || record[0] != recordGroup:
		s.cfg.Logger.Error("A record of the spool cannot be read: a push that waited is lost")
		return nil
	}
	id, parts, err := readGroup(record[1:])
	if err != nil {
		s.cfg.Logger.Error("A record of the spool cannot be read: a push that waited is lost", "err", err)
		return nil
	}
	if len(parts) == 0 {
		delete(s.entries, id)
		return nil
	}
	s.entries[id] = &entry{key: wire.KeyOf(id), parts: parts, size: sizeOf(parts)}
	return nil
}

// Left returns of how many groups something waits in a directory that no spool is opened
// in. It stays there.
func Left(dir *state.Dir, logger *slog.Logger) (groups int, err error) {
	if !dir.Has(logName) {
		return 0, nil
	}
	s := &Spool{cfg: Config{Logger: logger}, entries: map[string]*entry{}}
	_, err = dir.Log(logName, state.LogOptions{}, s.restore)
	return len(s.entries), err
}

// record appends what waits of a group. The lock is held.
func (s *Spool) record(e *entry) state.Position {
	at := s.log.Append(appendGroup(nil, e.key.ID(), e.parts))
	if len(e.parts) == 0 {
		s.gone = at
	}
	if len(s.entries) == 0 && s.log.Err() != nil {
		select {
		case s.emptied <- struct{}{}:
		default:
		}
	}
	return at
}

// compact writes the spool anew whenever that is due, until its directory is closed.
func (s *Spool) compact() {
	due := s.log.Due()
	for {
		select {
		case _, open := <-due:
			if !open {
				return
			}
		case <-s.emptied:
		}
		err := errors.Join(s.discard(), s.log.Compact(s.transcript))
		if err != nil && !errors.Is(err, state.ErrClosed) {
			s.cfg.Logger.Error("The spool cannot be written: pushes are refused while the Pushgateway is away", "err", err)
		}
	}
}

// discard takes from a disk that is full what was delivered since it is: it would come
// again if the process ended, over what is pushed until then. All or nothing can be taken,
// and while nothing waits nobody is told that something was kept.
func (s *Spool) discard() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.entries) > 0 {
		return nil
	}
	return s.log.Discard()
}

// transcript writes down what waits.
func (s *Spool) transcript(write func([]byte) error) error {
	for _, e := range s.all() {
		s.mu.Lock()
		record := appendGroup(nil, e.key.ID(), e.parts)
		s.mu.Unlock()
		if err := write(record); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spool) all() []*entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*entry, 0, len(s.entries))
	for _, e := range s.entries {
		out = append(out, e)
	}
	return out
}
