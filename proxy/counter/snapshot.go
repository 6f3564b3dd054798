package counter

// snapshot writes what a book and totals are while commits go on. It collects
// units while it holds locks and writes them when it holds none.
type snapshot struct {
	write func(unit []byte) error
	full  [][]byte
	unit  []byte
	err   error
}

// everything writes all there is. What is evicted before its shard is written is
// in the watermark, which comes last.
func (s *snapshot) everything(b *Book, t *Totals) {
	for _, shard := range b.shards {
		s.baselines(shard)
	}
	s.totals(t)
	s.unit = appendWatermark(b.retries.appendKeys(s.unit), b.watermark.Load())
	s.flush(0)
}

// snapshotUnit is about how large a unit of a snapshot is.
const snapshotUnit = 1 << 20

// cut ends the unit if it is large enough.
func (s *snapshot) cut() {
	if len(s.unit) >= snapshotUnit {
		s.full = append(s.full, s.unit)
		s.unit = make([]byte, 0, snapshotUnit+snapshotUnit/8)
	}
}

// flush writes what was cut, and a last unit that is longer than size.
func (s *snapshot) flush(size int) {
	if len(s.unit) > size {
		s.full, s.unit = append(s.full, s.unit), nil
	}
	for _, unit := range s.full {
		if s.err == nil {
			s.err = s.write(unit)
		}
	}
	s.full = s.full[:0]
}

func (s *snapshot) baselines(from *shard) {
	from.mu.Lock()
	for slot := from.oldest; slot != 0; slot = from.at(slot).newer {
		s.unit = from.appendBaseline(s.unit, slot)
		s.cut()
	}
	from.mu.Unlock()
	s.flush(snapshotUnit)
}

func (s *snapshot) totals(t *Totals) {
	t.mu.Lock()
	for _, f := range t.families {
		for _, to := range f.totals {
			s.unit = to.appendTotal(to.appendBirth(s.unit, to.born <= t.scrapers.kept))
			s.cut()
		}
	}
	t.mu.Unlock()
	s.flush(snapshotUnit)
}
