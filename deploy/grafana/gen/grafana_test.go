package main_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// asGrafana reads a dashboard into Grafana's own types, as strictly as they can: what
// they do not know, or know as something else, is an error. What is not there is none,
// since Grafana fills that in.
func asGrafana(page []byte) error {
	for _, panels := range []func() variants.PanelcfgConfig{bargauge.VariantConfig, stat.VariantConfig, table.VariantConfig, timeseries.VariantConfig} {
		cog.NewRuntime().RegisterPanelcfgVariant(panels())
	}
	cog.NewRuntime().RegisterDataqueryVariant(prometheus.VariantConfig())
	var d dashboard.Dashboard //lint:ignore SA1019 these are of the schema that files and provisioning have
	err := d.UnmarshalJSONStrict(page)
	if err == nil {
		return nil
	}
	var faults []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSuffix(line, "\n"); !strings.HasSuffix(line, ": required field is missing from input") {
			faults = append(faults, line)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return errors.New(strings.Join(faults, "\n"))
}

// shipped are the dashboards by the names of their files.
func shipped(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("no dashboards: %v", err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		if out[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestGrafanaReadsThem has Grafana's own types know every field of the dashboards.
func TestGrafanaReadsThem(t *testing.T) {
	for name, page := range shipped(t) {
		if err := asGrafana(page); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGrafanaReadsNoOther changes a dashboard to what those types refuse.
func TestGrafanaReadsNoOther(t *testing.T) {
	for _, c := range []struct{ from, to, want string }{
		{`"expr":`, `"exprr":`, "unexpected field 'exprr'"},
		{`"reduceOptions":`, `"bogus":`, "unexpected field 'bogus'"},
		{`"unit": "`, `"unit": 5, "was": "`, "cannot unmarshal number"},
	} {
		for name, page := range shipped(t) {
			other := bytes.Replace(page, []byte(c.from), []byte(c.to), 1)
			if bytes.Equal(other, page) {
				t.Errorf("%s has no %s", name, c.from)
			}
			if err := asGrafana(other); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s with %s is read: %v, want %q", name, c.to, err, c.want)
			}
		}
	}
}
