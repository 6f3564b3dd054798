package admission

import "github.com/prometheus/client_golang/prometheus"

// metrics describe a Gate.
type metrics struct{ inFlight, working, waiting, bytes, shed *prometheus.Desc }

func describe() metrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return metrics{
		inFlight: desc("pushguard_in_flight_pushes", "Pushes and deletes that are worked on; --limits.in-flight is the most."),
		working:  desc("pushguard_working_pushes", "Of the pushes in flight those that want a processor, and do not wait for others of their group, a disk or the Pushgateway; without --limits.in-flight nothing bounds them."),
		waiting:  desc("pushguard_waiting_pushes", "Pushes and deletes that wait for their turn."),
		bytes:    desc("pushguard_in_flight_bytes", "Bytes that the bodies of pushes hold, of those that are still read, too; --limits.in-flight-bytes is the most."),
		shed:     desc("pushguard_shed_total", "Pushes and deletes that were answered 503 because there were too many (full, displaced, waited), they were too large (bytes), or there was no memory for them (memory), by reason.", "reason"),
	}
}

// Describe is part of prometheus.Collector.
func (g *Gate) Describe(ch chan<- *prometheus.Desc) {
	m := describe()
	for _, d := range []*prometheus.Desc{m.inFlight, m.working, m.waiting, m.bytes, m.shed} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (g *Gate) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	running, working, waiting, bytes, shed := g.running, len(g.working), g.waiting, g.bytes, g.shed
	g.mu.Unlock()
	m := describe()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(m.inFlight, float64(running))
	gauge(m.working, float64(working))
	gauge(m.waiting, float64(waiting))
	gauge(m.bytes, float64(bytes))
	for why := Full; why < reasons; why++ {
		ch <- prometheus.MustNewConstMetric(m.shed, prometheus.CounterValue, float64(shed[why]), why.String())
	}
}
