package world

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/exposition"
)

const (
	acceptText     = "text/plain;version=0.0.4"
	acceptProtobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"
)

// Samples are the series of a scrape, such as up{job="x"}, with their values.
// The value of a native histogram is its count.
type Samples map[string]float64

// Scrape reads /metrics below a route prefix in both encodings and fails the
// test unless Prometheus would take all of both. It returns the samples of the
// text.
func (p *Process) Scrape(t testing.TB, prefix string) Samples {
	t.Helper()
	samples, err := p.Whole(t, prefix)
	if err != nil {
		t.Fatalf("%s: %v", p.Name, err)
	}
	return samples
}

// Whole scrapes in both encodings and says why Prometheus would not take all of
// it.
func (p *Process) Whole(t testing.TB, prefix string) (Samples, error) {
	t.Helper()
	text, err := p.scrape(t, prefix, acceptText)
	if err != nil {
		return nil, err
	}
	samples, err := ingest(text.Body, text.Header.Get("Content-Type"))
	if err != nil {
		return nil, fmt.Errorf("the scrape as text: %w", err)
	}
	// The parser behind promtool check metrics minds what textparse does not,
	// such as a family that is declared twice.
	parser := expfmt.NewTextParser(model.UTF8Validation)
	if _, err := parser.TextToMetricFamilies(bytes.NewReader([]byte(text.Body))); err != nil {
		return nil, fmt.Errorf("the scrape as text, by expfmt: %w", err)
	}
	proto, err := p.scrape(t, prefix, acceptProtobuf)
	if err != nil {
		return nil, err
	}
	if _, err := ingest(proto.Body, proto.Header.Get("Content-Type")); err != nil {
		return nil, fmt.Errorf("the scrape as protobuf: %w", err)
	}
	return samples, nil
}

func (p *Process) scrape(t testing.TB, prefix, accept string) (Answer, error) {
	t.Helper()
	answer := p.Get(t, prefix+"/metrics", [2]string{"Accept", accept})
	if answer.Status != http.StatusOK {
		return answer, fmt.Errorf("GET %s/metrics: %d %s", prefix, answer.Status, answer.Body)
	}
	return answer, nil
}

// ingest reads a scrape as Prometheus does, and takes an empty one for a fault.
func ingest(body, contentType string) (Samples, error) {
	samples := Samples{}
	err := exposition.Each([]byte(body), contentType, func(ls labels.Labels, value float64) {
		name := ls.Get(model.MetricNameLabel)
		samples[name+labels.NewBuilder(ls).Del(model.MetricNameLabel).Labels().String()] = value
	})
	if err == nil && len(samples) == 0 {
		err = errors.New("it is empty")
	}
	return samples, err
}

// Names are the names of the series, sorted, each once.
func (s Samples) Names() []string {
	names := []string{}
	for id := range s {
		name, _, _ := strings.Cut(id, "{")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
