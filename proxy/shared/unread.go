package shared

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/pushguard/pushguard/proxy/state"
)

// ErrVersion says that a guard cannot take part, or no longer, since others are of a
// version that says what it cannot read.
var ErrVersion = errors.New("the guards that share the Redis are of another version: all guards of a fleet are of one, see \"Upgrade\" in docs/many-guards.md")

var (
	errCommand = errors.New("a command that no guard of this version knows")
	errDamaged = errors.New("the Redis keeps otherwise what guards write to it")
)

// again is how often a guard writes a batch that the Redis keeps otherwise before it
// takes that for a fault of the Redis.
const again = 3

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal leads commands by the version of their guard, and a checksum of all that.
func seal(version string, commands []byte) []byte {
	if len(commands) == 0 {
		return nil
	}
	body := append(appendBytes(make([]byte, 4), []byte(version)), commands...)
	binary.LittleEndian.PutUint32(body, crc32.Checksum(body[4:], castagnoli))
	return body
}

// unseal reports whether a batch is as its guard wrote it.
func unseal(body []byte) (version string, commands []byte, whole bool) {
	in := state.NewReader(body, errDamaged)
	sum := in.Take(4)
	if sum == nil || crc32.Checksum(body[4:], castagnoli) != binary.LittleEndian.Uint32(sum) {
		return "", nil, false
	}
	version = in.Text()
	commands = in.Take(uint64(in.Len()))
	return version, commands, in.Err() == nil
}

// take carries out entries in their order. One that is not as its guard wrote it is
// asked for once more, in case that it was changed on its way to this guard alone.
func (l *Log) take(entries []entry) error {
	for i := range entries {
		e := &entries[i]
		version, commands, whole := unseal([]byte(e.body))
		if !whole && l.doubted != e.seq {
			l.doubted = e.seq
			return nil
		}
		if err := l.apply(e, version, commands, whole); err != nil {
			return err
		}
	}
	return nil
}

// damaged passes over a batch that the Redis has otherwise than its guard wrote it.
// Every guard does, so that all know the same; the one that wrote it writes it anew.
func (l *Log) damaged(guard Guard, mine bool) error {
	l.counts.unreadable.WithLabelValues("damaged").Inc()
	l.complain("The Redis has what a guard said otherwise than it was written: no guard carries it out, and the one that wrote it writes it again", "guard", string(guard))
	if !mine {
		return nil
	}
	l.batch++
	if l.resent++; l.resent > again {
		l.resent = 0
		return errDamaged
	}
	return nil
}

// skip passes over a command of a guard that this one cannot read, why says what it is.
// Guards of one version do so alike, and know the same afterwards. One of another version
// does not: this guard would no longer know what that one knows, and may not go on.
func (l *Log) skip(guard Guard, why error) error {
	l.counts.unreadable.WithLabelValues("unknown").Inc()
	if version := l.members.versionOf(guard); version != "" && version != l.cfg.Version {
		return fmt.Errorf("%w: %s, of version %.50q, says what this one, of version %.50q, cannot read (%w)", ErrVersion, guard, version, l.cfg.Version, why)
	}
	l.complain("A guard said what no guard of this version can read: none of them carries it out", "guard", string(guard), "err", why)
	return nil
}

// complainEvery is how often a log says that something could not be read; the metric
// has each time.
const complainEvery = time.Minute

func (l *Log) complain(text string, args ...any) {
	l.unsaid++
	if now := time.Now(); l.complained.IsZero() || now.Sub(l.complained) >= complainEvery {
		l.logger.Error(text, append(args, "times", l.unsaid)...)
		l.complained, l.unsaid = now, 0
	}
}

// meet says once of a guard that it is of another version. Of those that were there before
// this one it says so once it has joined: they may have left meanwhile.
func (l *Log) meet(guard Guard, version string) {
	if l.joined.Load() && version != "" && version != l.cfg.Version {
		l.logger.Warn("A guard of the fleet is of another version", "guard", string(guard), "version", version, "own", l.cfg.Version)
	}
}

// leave ends the part of a guard that cannot go on: nobody waits any more, and nothing
// is sent. The others notice by its silence.
func (l *Log) leave(err error) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.giveUp()
	l.abandon(err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue, l.flying = nil, nil
	return err
}
