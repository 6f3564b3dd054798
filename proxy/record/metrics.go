package record

import "github.com/prometheus/client_golang/prometheus"

// descs are the metrics of a Recorder.
type descs struct{ written, dropped, lost, up *prometheus.Desc }

func describe() descs {
	return descs{
		prometheus.NewDesc("pushguard_recorded_pushes_total", "Pushes that were recorded for a later replay.", nil, nil),
		prometheus.NewDesc("pushguard_record_dropped_total", "Pushes that were not recorded: over --record.rate, larger than 1 MiB (size), or faster than they are written (queue).", []string{"reason"}, nil),
		prometheus.NewDesc("pushguard_record_lost_total", "Recorded pushes that could not be written.", nil, nil),
		prometheus.NewDesc("pushguard_record_written", "Whether the last push that was to be recorded was written; 0 means that the disk does not take it.", nil, nil),
	}
}

// Describe is part of prometheus.Collector.
func (r *Recorder) Describe(out chan<- *prometheus.Desc) {
	d := describe()
	out <- d.written
	out <- d.dropped
	out <- d.lost
	out <- d.up
}

// Collect is part of prometheus.Collector.
func (r *Recorder) Collect(out chan<- prometheus.Metric) {
	d := describe()
	out <- prometheus.MustNewConstMetric(d.written, prometheus.CounterValue, float64(r.written.Load()))
	for i := range reasons {
		out <- prometheus.MustNewConstMetric(d.dropped, prometheus.CounterValue, float64(r.dropped[i].Load()), reasonNames[i])
	}
	out <- prometheus.MustNewConstMetric(d.lost, prometheus.CounterValue, float64(r.lost.Load()))
	up := 1.0
	if r.failing.Load() {
		up = 0
	}
	out <- prometheus.MustNewConstMetric(d.up, prometheus.GaugeValue, up)
}
