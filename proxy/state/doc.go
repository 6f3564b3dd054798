// Package state is the one owner of the state directory: what must outlive the
// process lies there, and nothing else opens it.
//
// # What is promised
//
// A record whose [Log.Commit] returned nil survives the death of the process,
// kill -9 too, whatever [Sync] is chosen: it was handed to the kernel. It
// survives the loss of power with [SyncAlways]; with [SyncInterval] what was
// written in the last Options.Interval may be lost, and with [SyncNever] what
// the kernel had not written yet. What is lost is always the end: if a record
// is restored, so is every one appended before it. The records of one
// [Log.Append] are restored all or not at all.
//
// A disk that is full, stalled or gone stops neither the caller nor grows the
// memory. The log then fails: it says so ([Log.Err]), takes no more records, and
// is whole again with the next [Log.Compact] that succeeds, for the caller's
// memory is the truth and Compact writes it anew.
//
// A file that is torn or corrupt costs what is corrupt and no more. What is
// whole before and behind it is restored; what is not is copied to a file of
// its own and named ([Dir.Damage]) before it goes. Nothing is emptied in
// silence, and a directory or a file of a newer version is refused untouched.
//
// # What a caller brings
//
// Records are assignments of state ("group g holds this", "group g is gone"),
// never differences, so that restoring one again, over a state that is newer
// already, ends where the last record says. A record is opaque here. The caller
// changes a piece of its memory and appends the change under one lock of its
// own, and a compaction reads that piece under the same lock: so no change is
// seen that is not appended.
//
// A caller runs, in a goroutine of its own,
//
//	for range log.Due() {
//		if err := log.Compact(emit); err != nil {
//			logger.Error("state is not durable", "err", err)
//		}
//	}
//
// # Files
//
//	VERSION               "pushguard state 1"
//	LOCK                  locked with flock(2) by the owner; who that is
//	NAME.GEN.log          what was appended to the log NAME in generation GEN
//	NAME.GEN.snapshot     what the compaction that began generation GEN wrote
//	NAME.GEN.KIND.damaged what of the file NAME.GEN.KIND was not whole
//	NAME.secret           a secret, 32 bytes
//	*.tmp                 a file that is not finished, removed at the next start
//	NAME/                 a directory for those who bring files of their own
//
// All files have mode 0600. A log is the newest snapshot and then the logs of
// its generation and of those after it, in order. A file is never written by
// two processes: each start begins a generation.
//
// A log, a snapshot and a secret begin with a header of 64 bytes, numbers being
// little-endian:
//
//	0  magic "pgstate\n"
//	8  version of the format, 4 bytes
//	12 kind, 1 byte: 1 log, 2 snapshot, 3 secret
//	13 gap, 1 byte: 1 if records before this log were lost to a failure, so that
//	   the log counts only with the snapshot of its own generation
//	14 0, 2 bytes
//	16 generation, 8 bytes
//	24 mark, 8 bytes: random, the same in all files of a log
//	32 name, 28 bytes, filled up with 0
//	60 CRC-32C of the 60 bytes before
//
// and go on with frames:
//
//	0  mark, 8 bytes
//	8  length of the unit, 4 bytes, at most 64 MiB
//	12 CRC-32C of the 12 bytes before and of the unit
//	16 unit: records, each its length as an unsigned varint and its bytes
//
// A snapshot ends with a frame whose unit is empty. Behind bytes that are not a
// whole frame reading goes on where the mark is found again. The mark is random
// so that nobody who writes a frame into a label value has it restored.
package state
