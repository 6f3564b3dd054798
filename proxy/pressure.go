package proxy

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pushguard/pushguard/proxy/ledger"
)

// Pressure is how full the memory is that the process may take. The zero value is that
// there is room.
type Pressure uint8

// The pressures from which on something is not taken any more.
const (
	Roomy Pressure = iota
	// Tight takes no new series, as if --limits.series were what is there.
	Tight
	// Full takes no push at all: what is there may grow without new series.
	Full
)

// pressure is how full the memory is.
func (g *Guard) pressure() Pressure {
	if g.cfg.Pressure == nil {
		return Roomy
	}
	return g.cfg.Pressure()
}

// room is an error where there is no memory for a push, for which a sweep, a DELETE or a
// larger limit make room. A delete, and what is only explained, find room always.
func (g *Guard) room(v *passage) error {
	if v.request.Method == http.MethodDelete || v.foresees() || g.pressure() < Full {
		return nil
	}
	return g.gate.NoMemory()
}

// tighten holds a budget to the series that are there, where there is no memory for more.
func (g *Guard) tighten(v *passage, b *ledger.Budget) {
	v.tight = g.pressure() >= Tight
	if !v.tight {
		return
	}
	if most := max(1, g.book.Series()); b.GuardSeries == 0 || b.GuardSeries > most {
		b.GuardSeries = most
	}
}

func (g *Guard) watchMemory(r prometheus.Registerer) {
	r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pushguard_memory_pressure",
		Help: "How full the memory is that the process may take (GOMEMLIMIT): 0 there is room, 1 no new series are taken, 2 pushes are answered 503.",
	}, func() float64 { return float64(g.pressure()) }))
}
