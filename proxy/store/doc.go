// Package store is a Pushgateway without one: it keeps the snapshots that jobs
// push, answers as a Pushgateway does, and serves the same pages.
//
// # A group is its shape and its values
//
// What of a family stays the same from push to push (its name, type and help, its
// labels, which lines there are) is a shape, and is kept once for all groups that
// share it. A group has no more of its own than its labels and the texts of its
// values. A page is copied together of these, line by line; nothing is formatted
// when it is read.
//
// # What waits for what
//
// Groups lie in shards by their keys, and a push holds the lock of its group's shard
// only to change pointers. What a push brings never changes afterwards, so that a
// scrape takes pointers to it, one shard after the other, and then reads in peace:
// it sees each push whole or not at all, and keeps nobody waiting.
//
// A push is checked against what is stored in the time that it takes to read it: the
// types of families are kept by their names, and whether another group can have one
// of its series is told by which label names the groups of its job have. See Index.
package store
