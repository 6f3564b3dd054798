package policy

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
)

// ParseSeries reads series with their values in the text format, and returns each
// as a line, sorted, never nil: labels by name, those with an empty value left out,
// and numbers as short as can be. Comments are skipped. The error names the first
// line that is wrong, that has a timestamp, or whose series came before.
func ParseSeries(text string) ([]string, error) {
	out := []string{}
	seen := make(map[string]bool)
	if text != "" && !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	p := textparse.NewPromParser([]byte(text), labels.NewSymbolTable(), false)
	for {
		kind, err := p.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("not the text format: %w", err)
		}
		if kind != textparse.EntrySeries {
			continue
		}
		_, stamp, value := p.Series()
		var ls labels.Labels
		p.Labels(&ls)
		series := SeriesLine(ls.Get(model.MetricNameLabel), ls)
		if stamp != nil {
			return nil, fmt.Errorf("series %s has a timestamp", cut(series))
		}
		if seen[series] {
			return nil, fmt.Errorf("series %s comes twice", cut(series))
		}
		seen[series] = true
		out = append(out, series+" "+strconv.FormatFloat(value, 'g', -1, 64))
	}
	slices.Sort(out)
	return out, nil
}

// bound is the value of a label, that of le and quantile as short as can be: how the
// parser writes them depends on the TYPE line above.
func bound(l labels.Label) string {
	if l.Name != model.BucketLabel && l.Name != model.QuantileLabel {
		return l.Value
	}
	v, err := strconv.ParseFloat(l.Value, 64)
	if err != nil {
		return l.Value
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}

// SeriesLine is a series as ParseSeries has it, without the value. A name among the
// labels is passed over.
func SeriesLine(name string, ls labels.Labels) string {
	quote := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	var parts []string
	if !model.LegacyValidation.IsValidMetricName(name) {
		parts, name = []string{`"` + quote.Replace(name) + `"`}, ""
	}
	ls.WithoutEmpty().Range(func(l labels.Label) {
		if l.Name == model.MetricNameLabel {
			return
		}
		l.Value = bound(l)
		if !model.LegacyValidation.IsValidLabelName(l.Name) {
			l.Name = `"` + quote.Replace(l.Name) + `"`
		}
		parts = append(parts, l.Name+`="`+quote.Replace(l.Value)+`"`)
	})
	if len(parts) == 0 {
		return name
	}
	return name + "{" + strings.Join(parts, ",") + "}"
}
