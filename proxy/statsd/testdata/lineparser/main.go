// Command lineparser reads datagrams from stdin and tells what the line parser
// of statsd_exporter makes of each. It is built by the tools of this module,
// which know that parser.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/statsd_exporter/pkg/event"
	"github.com/prometheus/statsd_exporter/pkg/line"
)

// reading is what was read from one datagram.
type reading struct {
	Events []parsed
	Errors float64 // of samples and tags
}

type parsed struct {
	Counter bool
	Name    string
	Value   float64
	Labels  map[string]string
}

func main() {
	parser := line.NewParser()
	parser.EnableDogstatsdParsing()
	parser.EnableInfluxdbParsing()
	parser.EnableLibratoParsing()
	parser.EnableSignalFXParsing()
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var n uint32
		if err := binary.Read(in, binary.BigEndian, &n); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		datagram := make([]byte, n)
		if _, err := io.ReadFull(in, datagram); err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(read(parser, string(datagram))); err != nil {
			log.Fatal(err)
		}
	}
}

// read splits a datagram as the exporter's listeners do.
func read(parser *line.Parser, datagram string) reading {
	counter := func() prometheus.Counter { return prometheus.NewCounter(prometheus.CounterOpts{Name: "x"}) }
	errs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "x"}, []string{"reason"})
	tagErrs := counter()
	var r reading
	for l := range strings.SplitSeq(datagram, "\n") {
		for _, e := range parser.LineToEvents(l, *errs, counter(), tagErrs, counter(), slog.New(slog.DiscardHandler)) {
			_, isCounter := e.(*event.CounterEvent)
			r.Events = append(r.Events, parsed{isCounter, e.MetricName(), e.Value(), e.Labels()})
		}
	}
	r.Errors = value(tagErrs)
	collected := make(chan prometheus.Metric, 100)
	errs.Collect(collected)
	close(collected)
	for m := range collected {
		r.Errors += value(m)
	}
	return r
}

func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		log.Fatal(err)
	}
	return d.GetCounter().GetValue()
}
