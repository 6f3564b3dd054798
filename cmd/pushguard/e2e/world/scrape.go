package world

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
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

// ingest does with a scrape what Prometheus' scrape loop does up to the storage,
// with the strictness of the name validation that was the only one before 3.0.
// Prometheus drops a whole scrape on its first error.
func ingest(body, contentType string) (Samples, error) {
	p, err := textparse.New([]byte(body), contentType, labels.NewSymbolTable(), textparse.ParserOptions{
		KeepClassicOnClassicAndNativeHistograms: true,
	})
	if err != nil {
		return nil, err
	}
	samples := Samples{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		var value float64
		switch entry {
		case textparse.EntrySeries:
			_, _, value = p.Series()
		case textparse.EntryHistogram:
			if value, err = nativeHistogram(p); err != nil {
				return nil, err
			}
		default:
			continue
		}
		if err := samples.add(p, value); err != nil {
			return nil, err
		}
	}
	if len(samples) == 0 {
		return nil, errors.New("it is empty")
	}
	return samples, nil
}

func (s Samples) add(p textparse.Parser, value float64) error {
	var ls labels.Labels
	p.Labels(&ls)
	if name, twice := ls.HasDuplicateLabelNames(); twice {
		return fmt.Errorf("%s: label %s occurs twice", ls, name)
	}
	if !ls.Has(model.MetricNameLabel) {
		return fmt.Errorf("%s: no metric name", ls)
	}
	if !ls.IsValid(model.LegacyValidation) {
		return fmt.Errorf("%s: invalid labels", ls)
	}
	// To Prometheus an empty label is no label.
	id := ls.Get(model.MetricNameLabel) + labels.NewBuilder(ls.WithoutEmpty()).Del(model.MetricNameLabel).Labels().String()
	if _, twice := s[id]; twice {
		return fmt.Errorf("%s: the series occurs twice", id)
	}
	s[id] = value
	return nil
}

func nativeHistogram(p textparse.Parser) (float64, error) {
	series, _, ints, floats := p.Histogram()
	if ints != nil {
		if err := ints.Validate(); err != nil {
			return 0, fmt.Errorf("%s: %w", series, err)
		}
		return float64(ints.Count), nil
	}
	if err := floats.Validate(); err != nil {
		return 0, fmt.Errorf("%s: %w", series, err)
	}
	return floats.Count, nil
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
