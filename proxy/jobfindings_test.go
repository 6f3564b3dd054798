package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/rules/finding"
)

func TestJobFindingsAreBoundedAndPass(t *testing.T) {
	now := time.Unix(1e9, 0)
	j := newJobFindings(func() time.Time { return now })
	for i := range maxJobFindings {
		j.note(fmt.Sprintf("job%d", i), []finding.Finding{{ID: "ids", Count: 1}})
	}
	if got := len(j.family().GetMetric()); got != maxJobFindings {
		t.Errorf("at the bound: %d series", got)
	}
	j.note("late", []finding.Finding{{ID: "ids", Count: 7}})
	j.note("later", []finding.Finding{{ID: "ids", Count: 8}})
	j.note("job0", []finding.Finding{{ID: "ids", Count: 9}})
	j.note(strings.Repeat("x", maxJobName+1), []finding.Finding{{ID: "other", Count: 1}})
	shown := map[string]float64{}
	for _, m := range j.family().GetMetric() {
		shown[m.Label[1].GetValue()+"/"+m.Label[0].GetValue()] = m.GetGauge().GetValue()
	}
	if len(shown) != maxJobFindings+2 || shown["__other__/ids"] != 8 || shown["job0/ids"] != 9 || shown["__other__/other"] != 1 {
		t.Errorf("over the bound: %d series, __other__ %v, job0 %v", len(shown), shown["__other__/ids"], shown["job0/ids"])
	}
	now = now.Add(findingsShown)
	j.note("job1", []finding.Finding{{ID: "ids", Count: 2}})
	now = now.Add(time.Second)
	if got := j.family().GetMetric(); len(got) != 1 || got[0].Label[1].GetValue() != "job1" {
		t.Errorf("after an hour: %v", got)
	}
}

// TestJobFindingsOnTheScrapedPage reads the page as Prometheus does, in both
// formats, packed and plain.
func TestJobFindingsOnTheScrapedPage(t *testing.T) {
	upstream := gatewaytest.Start(t)
	rules, err := policy.Parse("policy.yml", []byte(dropRunID))
	if err != nil {
		t.Fatal(err)
	}
	behind, err := gateway.New(gateway.Config{URL: upstream, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Policy: rules, Upstream: behind, Metrics: NewMetrics(prometheus.NewRegistry()),
		Caps: Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 1000, Labels: 50, LabelValue: 1000},
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g.Handler())
	defer server.Close()

	if page := get(t, server.URL+"/metrics", nil); strings.Contains(page, "pushguard_job_findings") {
		t.Error("findings before any push")
	}
	post(t, server.URL+"/metrics/job/nightly", "rows{run_id=\"1\"} 1\n")
	// The guard's own family is not to be had from a client.
	post(t, server.URL+"/metrics/job/liar", "pushguard_job_findings{job=\"nightly\",id=\"ids\"} 99\n")

	want := "nightly/ids=1 liar/reserved_family=1"
	for name, header := range map[string]http.Header{
		"text":             {"Accept": {"text/plain;version=0.0.4"}},
		"text, packed":     {"Accept": {"text/plain;version=0.0.4"}, "Accept-Encoding": {"gzip"}},
		"protobuf":         {"Accept": {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"}},
		"protobuf, packed": {"Accept": {"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited"}, "Accept-Encoding": {"gzip"}},
	} {
		families := readPage(t, get(t, server.URL+"/metrics", header), strings.HasPrefix(name, "protobuf"))
		if families["rows"] == nil || families["push_time_seconds"] == nil {
			t.Errorf("%s: the upstream's page is not whole", name)
		}
		got := []string{}
		for _, m := range families["pushguard_job_findings"].GetMetric() {
			got = append(got, fmt.Sprintf("%s/%s=%v", label(m, "job"), label(m, "id"), m.GetGauge().GetValue()))
		}
		if fmt.Sprint(got) != "["+strings.Join([]string{strings.Fields(want)[1], strings.Fields(want)[0]}, " ")+"]" {
			t.Errorf("%s: got %v, want %s", name, got, want)
		}
	}
}

func label(m *dto.Metric, name string) string {
	for _, lp := range m.GetLabel() {
		if lp.GetName() == name {
			return lp.GetValue()
		}
	}
	return ""
}

func post(t *testing.T, url, body string) {
	t.Helper()
	resp, err := http.Post(url, "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("POST %s: %s", url, resp.Status)
	}
}

// get returns a page unpacked.
func get(t *testing.T, url string, header http.Header) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	client := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if packed := header.Get("Accept-Encoding") != ""; packed != (resp.Header.Get("Content-Encoding") == "gzip") {
		t.Fatalf("asked for gzip: %v, got Content-Encoding %q", packed, resp.Header.Get("Content-Encoding"))
	}
	body := io.Reader(resp.Body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(resp.Body); err != nil {
			t.Fatal(err)
		}
	}
	page, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

func readPage(t *testing.T, page string, protobuf bool) map[string]*dto.MetricFamily {
	t.Helper()
	if !protobuf {
		parser := expfmt.NewTextParser(model.LegacyValidation)
		families, err := parser.TextToMetricFamilies(strings.NewReader(page))
		if err != nil {
			t.Fatalf("page: %v", err)
		}
		return families
	}
	families := map[string]*dto.MetricFamily{}
	for r := bufio.NewReader(bytes.NewReader([]byte(page))); ; {
		mf := &dto.MetricFamily{}
		if err := protodelim.UnmarshalFrom(r, mf); errors.Is(err, io.EOF) {
			return families
		} else if err != nil {
			t.Fatalf("page: %v", err)
		}
		families[mf.GetName()] = mf
	}
}
