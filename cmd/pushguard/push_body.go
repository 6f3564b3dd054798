package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// The metrics of a command that was run.
const (
	durationName = "job_duration_seconds"
	exitCodeName = "job_exit_code"
	startName    = "job_last_start_unixtime"
	successName  = "job_last_success_unixtime"
)

// fill gives a request its body: the file's bytes as they are if that is all there is
// to say, and otherwise everything in delimited protobuf, which alone can say that
// counters began, at begun.
func (c *pushCommand) fill(r *gateway.Request, stdin io.Reader, done *ranCommand, begun time.Time) error {
	if r.Method == http.MethodDelete {
		return nil
	}
	text, err := c.read(stdin)
	if err != nil {
		return err
	}
	families, err := parseFamilies(text)
	if err != nil {
		return fmt.Errorf("%s: %w; %s", cmp.Or(c.file, "stdin"), err, wire.TextFix(err))
	}
	if len(c.gauges)+len(c.counters) == 0 && done == nil && !c.increment {
		r.Body, r.ContentType = text, string(expfmt.NewFormat(expfmt.TypeTextPlain))
		return nil
	}
	if err := c.join(families, done); err != nil {
		return err
	}
	if c.increment {
		setCreated(families, begun)
	}
	r.Body, r.ContentType, err = encode(families)
	return err
}

// read returns the file, or stdin where nothing else is to be pushed.
func (c *pushCommand) read(stdin io.Reader) ([]byte, error) {
	switch {
	case c.file != "":
		return os.ReadFile(c.file)
	case c.brings():
		return nil, nil
	}
	text, err := io.ReadAll(stdin)
	if err == nil && len(text) == 0 {
		err = flagFault("nothing to push: want metrics on stdin or in a file, --gauge, --counter, or a command after --")
	}
	return text, err
}

// join adds what flags and the command say to the families of the file.
func (c *pushCommand) join(families map[string]*dto.MetricFamily, done *ranCommand) error {
	said, err := flagFamilies(c.gauges, c.counters)
	if err != nil {
		return err
	}
	for _, more := range []map[string]*dto.MetricFamily{said, done.families()} {
		for name, f := range more {
			if families[name] != nil {
				return fmt.Errorf("metric %s comes from the file, and again from a flag or the command", cut(name))
			}
			families[name] = f
		}
	}
	return nil
}

// checkFamilies finds the faults of flags that would keep what they say, and what became of
// the command, from being pushed.
func (c *pushCommand) checkFamilies() error {
	said, err := flagFamilies(c.gauges, c.counters)
	if err != nil || len(c.command) == 0 {
		return err
	}
	for name := range (&ranCommand{}).families() {
		if f := said[name]; f != nil {
			return flagFault("--%s: %s is pushed of the command itself: leave it out", strings.ToLower(f.GetType().String()), name)
		}
	}
	return nil
}

// flagFamilies are the families that --gauge and --counter say.
func flagFamilies(gauges, counters []string) (map[string]*dto.MetricFamily, error) {
	out := map[string]*dto.MetricFamily{}
	for _, of := range []struct {
		flag   string
		kind   dto.MetricType
		series []string
	}{{"gauge", dto.MetricType_GAUGE, gauges}, {"counter", dto.MetricType_COUNTER, counters}} {
		for _, text := range of.series {
			f, err := parseSeries(text, of.kind)
			if err != nil {
				return nil, flagFault("--%s=%q: %v", of.flag, cut(text), err)
			}
			known := out[f.GetName()]
			switch {
			case known == nil:
				out[f.GetName()] = f
			case known.GetType() != f.GetType():
				return nil, flagFault("--%s=%q: %s is a %s, too", of.flag, cut(text), cut(f.GetName()), strings.ToLower(known.GetType().String()))
			default:
				known.Metric = append(known.Metric, f.Metric...)
			}
		}
	}
	return out, nil
}

// parseSeries reads NAME=VALUE or NAME{LABEL="VALUE",…}=VALUE.
func parseSeries(text string, kind dto.MetricType) (*dto.MetricFamily, error) {
	const want = `want a series and its value, such as rows{table="t"}=7`
	at := strings.LastIndexByte(text, '=')
	name, _, _ := strings.Cut(text, "{")
	if at < 0 || strings.ContainsAny(text, "\n#") {
		return nil, errors.New(want)
	}
	name = strings.TrimSpace(name[:min(len(name), at)])
	if !model.LegacyValidation.IsValidMetricName(name) {
		return nil, fmt.Errorf(want+"; %q is no name of a metric", cut(name))
	}
	line := fmt.Sprintf("# TYPE %s %s\n%s %s\n", name, strings.ToLower(kind.String()), text[:at], text[at+1:])
	families, err := parseFamilies([]byte(line))
	if err != nil {
		return nil, fmt.Errorf(want+": %w", err)
	}
	f := families[name]
	if f == nil || len(f.Metric) != 1 || f.Metric[0].TimestampMs != nil {
		return nil, errors.New(want)
	}
	return f, nil
}

// parseFamilies reads the text format as a Pushgateway does.
func parseFamilies(text []byte) (map[string]*dto.MetricFamily, error) {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(slices.Clone(text), '\n')
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(bytes.NewReader(text))
}

// setCreated says of everything that adds up that it began.
func setCreated(families map[string]*dto.MetricFamily, begun time.Time) {
	at := timestamppb.New(begun)
	for _, f := range families {
		for _, m := range f.Metric {
			switch {
			case m.Counter != nil:
				m.Counter.CreatedTimestamp = at
			case m.Histogram != nil:
				m.Histogram.CreatedTimestamp = at
			case m.Summary != nil:
				m.Summary.CreatedTimestamp = at
			}
		}
	}
}

func encode(families map[string]*dto.MetricFamily) (body []byte, contentType string, err error) {
	var out bytes.Buffer
	format := expfmt.NewFormat(expfmt.TypeProtoDelim)
	e := expfmt.NewEncoder(&out, format)
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if err := e.Encode(families[name]); err != nil {
			return nil, "", err
		}
	}
	return out.Bytes(), string(format), nil
}

// families are the metrics of the command; nil has none. The last success is that of
// a run before, unless this one is.
func (d *ranCommand) families() map[string]*dto.MetricFamily {
	out := map[string]*dto.MetricFamily{}
	if d == nil {
		return out
	}
	gauge := func(name, help string, value float64) {
		out[name] = &dto.MetricFamily{
			Name: &name, Help: &help, Type: dto.MetricType_GAUGE.Enum(),
			Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(value)}}},
		}
	}
	gauge(startName, "When the job began to run last, in seconds since 1970.", unixSeconds(d.started))
	gauge(durationName, "How long the job ran last.", d.took.Seconds())
	gauge(exitCodeName, "With which code the job ended last; 128 and the number of a signal that ended it.", float64(d.code))
	if d.code == 0 {
		gauge(successName, "When the job succeeded last, in seconds since 1970.", unixSeconds(d.started.Add(d.took)))
	}
	return out
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
