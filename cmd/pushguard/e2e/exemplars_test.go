package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestExemplarLeadsToItsRecord has a push refused, asks a real Prometheus for exemplars
// with the query of each panel that shows some, and follows the links of the data source
// as Grafana does: in the console there is the record of that push.
func TestExemplarLeadsToItsRecord(t *testing.T) {
	t.Parallel()
	guard := world.Guard(t, world.GuardOptions{Policy: world.Write(t, "policy.yml", busyPolicy), Audit: filepath.Join(t.TempDir(), "audit.jsonl")})
	config := fmt.Sprintf("global: {scrape_interval: 1s}\nscrape_configs:\n- {job_name: pushguard, honor_labels: true, metrics_path: /guard/metrics, static_configs: [{targets: [%q]}]}\n", guard.Addr)
	prometheus := world.Prometheus(t, config, "--enable-feature=exemplar-storage")
	if a := guard.Push(t, "/metrics/job/refused", "rows{token=\"x\"} 1\n"); a.Status != 422 {
		t.Fatalf("the push was answered %d: %s", a.Status, a.Body)
	}
	links, all := exemplarLinks(t), exemplarQueries(t)
	for title, queries := range all {
		record := ""
		world.Eventually(t, func() (err error) {
			record, err = exemplarOf(t, prometheus, queries)
			return err
		})
		link := guard.Get(t, strings.Replace(links["/guard/audit/"], "${__value.raw}", record, 1)).Header.Get("Location")
		if page := guard.Get(t, "/guard/"+strings.TrimPrefix(link, "../")).Body; !strings.Contains(page, "label <code>token</code>") {
			t.Errorf("%s: the console has no record %s of the push at %s: %s", title, record, link, page)
		}
		pane, err := url.Parse(strings.Replace(links["/explore"], "${__value.raw}", record, 1))
		if err != nil || !strings.Contains(pane.Query().Get("panes"), `{source=\"pushguard\"} |= \"`+record+`\"`) || !json.Valid([]byte(pane.Query().Get("panes"))) {
			t.Errorf("%s: what Loki is asked: %v, %v", title, pane, err)
		}
	}
	for _, q := range all["Refusals by reason and job"] { // though it is the first of its job
		if rows, err := ask(t, prometheus, q); err != nil || len(rows) != 1 || rows[0]["="] != "1" {
			t.Errorf("%s says %v, %v", q, rows, err)
		}
	}
}

// exemplarQueries are those of the panels that show exemplars, by the panel's title.
func exemplarQueries(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, b := range boards(t) {
		for _, p := range b.Panels {
			for _, target := range p.Targets {
				if target.Exemplar {
					out[p.Title] = append(out[p.Title], chosen{"__rate_interval": "1m", "job": ".*"}.in(target.Expr))
				}
			}
		}
	}
	if len(out) < 3 {
		t.Fatalf("exemplars are in %d panels: %v", len(out), out)
	}
	return out
}

// exemplarLinks are the links of an exemplar in the data source that is shipped, by the
// path that they lead to.
func exemplarLinks(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(world.Root(), "deploy/grafana/provisioning/datasources/*.yml"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	content, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var sources struct {
		Datasources []struct {
			JSONData struct {
				Destinations []struct{ Name, URL string } `yaml:"exemplarTraceIdDestinations"`
			} `yaml:"jsonData"`
		}
	}
	if err := yaml.Unmarshal(content, &sources); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, s := range sources.Datasources {
		for _, d := range s.JSONData.Destinations {
			link := strings.ReplaceAll(d.URL, "$$", "$") // as Grafana reads provisioned files
			link = strings.TrimPrefix(link, "http://localhost:9091")
			for _, path := range []string{"/guard/audit/", "/explore"} {
				if strings.HasPrefix(link, path) && d.Name == "audit_record" {
					out[path] = link
				}
			}
		}
	}
	if len(out) != 2 {
		t.Fatalf("the links are %v", out)
	}
	return out
}

// exemplarOf is the record that Prometheus' exemplars of the queries name.
func exemplarOf(t *testing.T, prometheus *world.Process, queries []string) (string, error) {
	t.Helper()
	for _, q := range queries {
		now := time.Now()
		at := url.Values{"query": {q}, "start": {now.Add(-time.Hour).Format(time.RFC3339)}, "end": {now.Add(time.Hour).Format(time.RFC3339)}}
		var reply struct {
			Data []struct {
				Exemplars []struct{ Labels map[string]string }
			}
		}
		answer := prometheus.Get(t, "/api/v1/query_exemplars?"+at.Encode())
		if err := json.Unmarshal([]byte(answer.Body), &reply); err != nil {
			return "", fmt.Errorf("%w: %s", err, answer.Body)
		}
		for _, series := range reply.Data {
			for _, e := range series.Exemplars {
				if record := e.Labels["audit_record"]; record != "" {
					return record, nil
				}
			}
		}
	}
	return "", errors.New("Prometheus has no exemplar yet")
}
