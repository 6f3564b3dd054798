package e2e

import (
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/statsd/statsdtest"
)

var update = flag.Bool("update", false, "write the golden files")

// placeholder is one part of a template of a name, such as {dag_id}.
var placeholder = regexp.MustCompile(`\{([a-z_]+)\}`)

// id is what stands for an id in the lines sent. It must be in no metric's name.
const id = "zz"

// template is a line of statsd-names.txt: the type, the name with tags, and the name of
// old that carries ids in itself.
type template struct{ kind, name, legacy string }

func templates(t *testing.T) []template {
	t.Helper()
	var all []template
	for line := range strings.Lines(read(t, filepath.Join(world.Root(), "deploy/airflow/testdata/statsd-names.txt"))) {
		f := strings.Fields(line)
		all = append(all, template{f[0], f[1], strings.TrimPrefix(f[2], "-")})
	}
	return all
}

// filled puts ids in the place of what the template leaves open. That of a task has
// the dot of a task group.
func filled(name string) string {
	name = strings.ReplaceAll(name, "{task_id}", id+"group."+id+"task")
	return placeholder.ReplaceAllString(name, id+"$1")
}

// lines are what Airflow sends for a template: both names, the first one with tags in
// the manner of InfluxDB or DogStatsD where it is set up so.
func (m template) lines(influx, datadog bool) []string {
	value := ":1|" + m.kind
	tags := placeholder.FindAllStringSubmatch(m.legacy, -1)
	name := "airflow." + filled(m.name)
	var first string
	switch {
	case influx:
		for _, tag := range tags {
			name += "," + tag[1] + "=" + id + "value"
		}
		first = name + value
	case datadog && len(tags) > 0:
		pairs := make([]string, len(tags))
		for i, tag := range tags {
			pairs[i] = tag[1] + ":" + id + "value"
		}
		first = name + value + "|#" + strings.Join(pairs, ",")
	default:
		first = name + value
	}
	if m.legacy == "" {
		return []string{first}
	}
	return []string{first, "airflow." + filled(m.legacy) + value}
}

// A line of every template that Airflow has, through a real statsd_exporter: every one
// is mapped, no id is in a name, and what comes of them all is what the golden file says.
func TestAirflowStatsDMappings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode, mapping   string
		influx, datadog bool
	}{
		{mode: "influx", mapping: "tagged", influx: true}, {mode: "datadog", mapping: "tagged", datadog: true}, {mode: "plain", mapping: "plain"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			exporter := statsdtest.Start(t, "--statsd.mapping-config="+filepath.Join(world.Root(), "deploy/airflow/statsd-mapping."+c.mapping+".yml"))
			conn, err := net.Dial("tcp", exporter.TCP.Host)
			if err != nil {
				t.Fatal(err)
			}
			sent := 0
			for _, m := range templates(t) {
				for _, line := range m.lines(c.influx, c.datadog) {
					fmt.Fprintln(conn, line)
					sent++
				}
			}
			_ = conn.Close()
			got := mapped(t, exporter, sent)
			golden := filepath.Join(world.Root(), "deploy/airflow/testdata/statsd-mapping."+c.mapping+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(read(t, golden), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// mapped is what the exporter makes of so many lines: each metric with the names of
// its labels.
func mapped(t *testing.T, exporter *statsdtest.Exporter, lines int) string {
	t.Helper()
	page := pageOf(t, exporter, lines)
	for _, bad := range []string{"statsd_exporter_events_unmapped_total", "statsd_exporter_events_error_total", "statsd_exporter_sample_errors_total", "statsd_exporter_tag_errors_total"} {
		if n := countedOn(page, bad); n != 0 {
			t.Errorf("%s is %g", bad, n)
		}
	}
	seen := map[string]bool{}
	for name, f := range page {
		if !strings.HasPrefix(name, "airflow_") {
			continue
		}
		if strings.Contains(name, id) {
			t.Errorf("an id is in the name %s", name)
		}
		for _, m := range f.GetMetric() {
			labels := []string{}
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName())
			}
			seen[strings.ToLower(f.GetType().String())+" "+name+"{"+strings.Join(labels, ",")+"}"] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(seen)), "\n") + "\n"
}

// pageOf is the exporter's page once it has handled so many lines. A metric made while
// a page is gathered is not on it, though its line is counted there already: so the page
// after has to have no more families.
func pageOf(t *testing.T, exporter *statsdtest.Exporter, lines int) map[string]*dto.MetricFamily {
	t.Helper()
	families := 0
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		page, err := exporter.Scrape()
		if err != nil {
			t.Fatal(err)
		}
		read, handled := countedOn(page, "statsd_exporter_lines_total"), countedOn(page, "statsd_exporter_events_actions_total")
		if min(read, handled) >= float64(lines) && len(page) == families {
			return page
		}
		if time.Now().After(deadline) {
			t.Fatalf("%g of %d lines were read, %g handled", read, lines, handled)
		}
		families = len(page)
	}
}

// countedOn is the sum of a counter on a page.
func countedOn(page map[string]*dto.MetricFamily, name string) float64 {
	sum := 0.0
	for _, m := range page[name].GetMetric() {
		sum += m.GetCounter().GetValue()
	}
	return sum
}
