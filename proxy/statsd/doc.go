// Package statsd sends increments to a StatsD server that turns them into
// Prometheus counters, above all statsd_exporter, in a way that cannot hurt it.
//
// # What is sent
//
// Only counters, one a line. A counter travels under its name. A histogram
// travels as counters, its growth in cumulative buckets as name_bucket with the
// tag le, written as Prometheus writes it (1.0, 2.5, +Inf), with name_sum and
// name_count; so histogram_quantile over what the exporter shows is as exact as
// over the histogram itself. A summary travels as name_count and name_sum. All
// lines of one histogram or summary are in one datagram, or in one write.
//
// Increments are added up and leave once every Config.FlushEvery: what is sent
// grows with the series that changed, not with the pushes. Values are written
// so that they read back the same; integers are exact up to 2^53, and the
// exporter keeps them so.
//
// # What cannot be sent
//
// Names and tag keys are made of [A-Za-z0-9_] and do not start with a digit.
// In tag values control characters and what the tags' own syntax uses become _,
// and they end after 200 bytes. Series that differ in nothing else then add up.
// A series is refused, and counted under a [Refusal], where it could take down
// the exporter's /metrics (its own names, labels that start with __), where it
// would be mixed up with another one (two names or two labels that are the same
// once cleaned, one name for a counter and a histogram), or where it would not
// arrive whole (lines over 4,000 bytes, histograms over 60,000). NaN, infinite
// and negative increments are refused. Labels such as job and instance are
// sent; a scrape of the exporter needs honor_labels to keep them.
//
// # Birth at zero
//
// Prometheus sees the growth of a counter only after it saw the counter. So a
// new series is sent as 0 first, and its increments are held for
// Config.ZeroHold. Every Config.Heartbeat each live series is sent as 0 again,
// which changes nothing, keeps it from expiring at the exporter, and lets an
// exporter that restarted know it before it grows. Whenever the exporter is
// known to have been away, all series are born again. A series that got no
// increment for Config.IdleTTL is forgotten.
//
// # What may be lost
//
// Nothing is sent twice. An increment stays pending until the kernel took the
// line that carries it; from then on it counts as sent. While the exporter is
// known to be away everything stays pending, in memory that is bounded by
// Config.MaxSeries: totals, not a queue. With as many series, all of them with
// something pending, increments of further series are dropped and counted.
//
// An exporter that dies takes with it what it was given and nobody scraped. On
// top of that is lost, each time it dies:
//
//   - unixgram: what lay unread in its socket, at most net.unix.max_dgram_qlen
//     (10) datagrams. The first one after its death fails, and stays pending.
//   - TCP: what lay unread in the buffers of both kernels, up to megabytes. The
//     death is noticed before the next write, or by the first one after it. If
//     its host is gone too, nothing is noticed until ten writes in a row took
//     nothing for a Config.WriteTimeout each; what this host's kernel took
//     before, 64 kB and a packet at most, is lost.
//   - UDP: what lay unread in its socket, and one datagram after its death on
//     this host; from another host what was sent until its answer came, which is
//     looked for at the start of each flush, after a line that carries nothing.
//     A host that answers nothing is never noticed to be away. Datagrams that
//     the kernel drops because a live exporter reads too slowly are lost and
//     not noticed: hence the pace, see Config.Rate.
//
// A guard that is killed loses what was pending. One that is stopped sends it,
// held increments too, as far as the exporter takes it, and Config.Rate lets it
// leave, within Config.ShutdownFlush. The log says of how many series something is
// lost then.
package statsd
