// Package event carries what does not belong into Prometheus to the event log a
// team already runs: the state of one task in one run, what a push was refused
// for, which label values a rule took away, what was swept.
//
// # What is promised
//
// Nothing here is on the way of a push. [Log.Add] takes records and never waits,
// neither for a sink nor for the disk. A sink that is slow, away or refuses what it
// is sent costs the records what their queue cannot hold, and that is counted.
//
// Each sink has a [Queue] of its own, and one batch on its way at a time, so that
// records arrive in the order in which they were added. A batch that got no answer
// is sent again as it was: a record keeps its id ([Record.ID]), by which an engine
// that can tell has it once.
//
// A queue is bounded. In memory it is lost with the process. In a directory of
// package state it outlives it, kill -9 too: what [Log.Commit] returned for is
// sent, and what was sent and not yet marked so is sent again. The loss of power
// may cost what the kernel had not written.
//
// A queue that is full drops its oldest records, those of the least worth first:
// snapshots, then whatever else, and only then what was refused.
//
// A sink that refuses a batch as such, with 400 or 413, is sent halves of it until
// the records that it does not want stand alone; those are counted and gone.
//
// # Sinks
//
//	loki+http://HOST:3100            Loki's push API, JSON
//	elasticsearch+http://HOST:9200/pushguard
//	                                 the bulk API of Elasticsearch and OpenSearch
//	                                 into the data stream named by the path
//	clickhouse+http://HOST:8123/DATABASE/TABLE
//	                                 ClickHouse over HTTP, JSONEachRow
//	otlp+http://HOST:4318            OpenTelemetry logs, JSON
//	file:///var/log/pushguard/events.jsonl
//	stdout:                          JSON lines
//
// The http of a scheme may be https. The records are the same in all: one flat
// object with the keys of [Record].
package event
