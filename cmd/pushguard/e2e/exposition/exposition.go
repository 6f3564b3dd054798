// Package exposition reads pages of metrics as Prometheus' scrape loop does up to the
// storage. It is of the tests and programs below e2e alone.
package exposition

import (
	"errors"
	"fmt"
	"io"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// Each reads a page of a content type, and hands over each series with its value, that
// of a native histogram being its count. To Prometheus an empty label is no label, so
// there is none. Prometheus drops a whole page on its first error, and so does Each: names
// are held to the validation that was the only one before 3.0, and no series comes twice.
func Each(body []byte, contentType string, take func(labels.Labels, float64)) error {
	p, err := textparse.New(body, contentType, labels.NewSymbolTable(), textparse.ParserOptions{
		KeepClassicOnClassicAndNativeHistograms: true,
	})
	if err != nil {
		return err
	}
	seen := map[string]bool{}
	for {
		entry, err := p.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		value, ok, err := valueOf(p, entry)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		ls, err := labelsOf(p)
		if err != nil {
			return err
		}
		id := ls.String()
		if seen[id] {
			return fmt.Errorf("%s: the series occurs twice", id)
		}
		seen[id] = true
		take(ls, value)
	}
}

// valueOf is the value of an entry, if it is a series.
func valueOf(p textparse.Parser, entry textparse.Entry) (value float64, ok bool, err error) {
	switch entry {
	case textparse.EntrySeries:
		_, _, value = p.Series()
		return value, true, nil
	case textparse.EntryHistogram:
		value, err = nativeHistogram(p)
		return value, true, err
	default:
		return 0, false, nil
	}
}

func labelsOf(p textparse.Parser) (labels.Labels, error) {
	var ls labels.Labels
	p.Labels(&ls)
	if name, twice := ls.HasDuplicateLabelNames(); twice {
		return ls, fmt.Errorf("%s: label %s occurs twice", ls, name)
	}
	if !ls.Has(model.MetricNameLabel) {
		return ls, fmt.Errorf("%s: no metric name", ls)
	}
	if !ls.IsValid(model.LegacyValidation) {
		return ls, fmt.Errorf("%s: invalid labels", ls)
	}
	return ls.WithoutEmpty(), nil
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
