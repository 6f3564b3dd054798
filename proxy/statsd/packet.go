package statsd

// part is one line of a packet.
type part struct {
	series *series
	index  int     // of the amount in series.pending
	of     int     // how many there were
	bound  float64 // of the bucket, if it is one
	amount float64 // 0 for a line that carries nothing
	end    int     // where the line ends in the packet, its line feed included
	zero   bool    // the line is to let the exporter know the series
	last   bool    // of the lines of the series in this packet
}

// packet is what is sent at once.
type packet struct {
	style TagStyle
	buf   []byte
	parts []part
}

func (p *packet) reset() {
	p.buf = p.buf[:0]
	clear(p.parts) // or series that were forgotten stay in memory
	p.parts = p.parts[:0]
}

// put appends the lines of a series: as zeros, or what is pending of it. It
// leaves the packet as it was, and returns false, if it would then hold other
// series and be longer than limit.
func (p *packet) put(sr *series, zero bool, limit int) bool {
	bytes, parts := len(p.buf), len(p.parts)
	for i, v := range sr.pending {
		if zero {
			v = 0
		} else if v == 0 {
			continue
		}
		suffix, bound := sr.column(i)
		p.line(sr, suffix, bound, v)
		p.parts = append(p.parts, part{
			series: sr, index: i, of: len(sr.pending), bound: bound, amount: v, end: len(p.buf), zero: zero,
		})
	}
	// The last line feed does not leave with a datagram.
	if bytes > 0 && len(p.buf)-1 > limit {
		p.buf, p.parts = p.buf[:bytes], p.parts[:parts]
		return false
	}
	p.parts[len(p.parts)-1].last = true
	return true
}

// line appends a line; a NaN bound is none.
func (p *packet) line(sr *series, suffix string, bound, v float64) {
	b := append(p.buf, sr.name...)
	b = append(b, suffix...)
	switch p.style {
	case DogStatsD, NoTags:
		b = append(appendAmount(append(b, ':'), v), "|c"...)
		b = sr.appendTags(b, "|#", ':', bound)
	case InfluxDB:
		b = sr.appendTags(b, ",", '=', bound)
	case Librato:
		b = sr.appendTags(b, "#", '=', bound)
	case SignalFX:
		n := len(b)
		if b = sr.appendTags(b, "[", '=', bound); len(b) > n {
			b = append(b, ']')
		}
	}
	if p.style != DogStatsD && p.style != NoTags {
		b = append(appendAmount(append(b, ':'), v), "|c"...)
	}
	p.buf = append(b, '\n')
}

// appendTags appends the series' tags and the bound, if there are any, after
// what opens them.
func (sr *series) appendTags(dst []byte, open string, between byte, bound float64) []byte {
	isBucket := bound == bound
	if sr.tags == "" && !isBucket {
		return dst
	}
	dst = append(append(dst, open...), sr.tags...)
	if !isBucket {
		return dst
	}
	if sr.tags != "" {
		dst = append(dst, ',')
	}
	return appendBound(append(dst, 'l', 'e', between), bound)
}
