// Package counter turns the counters that batch jobs push into exact increments.
//
// # From readings to increments
//
// A push is read into a Reading for each counter, histogram and summary. A Book
// keeps the last reading of each source of each counter, the baseline, and
// finds by how much a reading is above it. What tells a source from others is the
// best evidence that a push brings:
//
//   - Created: the time at which the counter was created. A value below the
//     baseline is late and counts nothing.
//   - Process: the time at which the process started. A value below the baseline
//     counts in full: the process counts from nothing again.
//   - Run: a label that names the run, with values as for Process.
//   - Anonymous: nothing. Each value counts in full, as of a job that ends with
//     its push, unless the push is known to be a retry.
//
// The first value of a source counts in full if the source began after the
// watermark: the latest time at which a baseline was seen that is gone by now, or
// at which a book began that knew of none before. What began sooner, as far as
// the clocks of clients can be trusted, may have been counted; it counts in full
// or not at all, as the push says, and is counted as ambiguous.
//
// A histogram is one: its count and buckets decide together whether it grew. One
// with other bounds is another source. A sum that fell, by observations below
// zero, is left out of the increment.
//
// # What cannot be told
//
// Two sources that bring the same evidence are one: counters that were created
// before a fork, or with the same labels in the same nanosecond. An anonymous
// counter that is pushed periodically adds up too often: Increments.Periodic
// notices it, and Cumulative is the remedy. An anonymous retry counts twice if
// nobody saw that its first answer was lost; an idempotency key is the remedy.
// Values of a Process or Run that come out of order count in full.
//
// # Totals
//
// Totals is the Sink that adds increments up, to be scraped. A scraper sees a new
// total at zero first, so that Prometheus' increase() sees the first increment.
// If histograms with unlike bounds are added into one total, it keeps the buckets
// that all of them have.
//
// # What is kept
//
// A Store keeps a book and totals in one log, the baselines and the totals that a
// push changes in one unit: whatever a crash leaves of the log, they agree. So
// what is lost with its end is counted when its sources push again.
package counter
