package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
)

// TestSeveralSecure: what --pushgateway.config.file says is said to every one of them.
func TestSeveralSecure(t *testing.T) {
	t.Parallel()
	a, one := world.SecurePushgateway(t)
	b, other := world.SecurePushgateway(t)
	authorities := world.Write(t, "ca.pem", read(t, one)+read(t, other))
	login := fmt.Sprintf("tls_config: {ca_file: %s}\nbasic_auth: {username: %s, password_file: password}\n", authorities, world.User)
	config := world.Write(t, "client.yml", login)
	word := filepath.Join(filepath.Dir(config), "password")
	rewrite(t, word, world.Password)
	guard := world.Guard(t, world.GuardOptions{Flags: []string{"--pushgateway.config.file=" + config, "--pushgateway.url=" + a.URL, "--pushgateway.url=" + b.URL}})
	for i := range 10 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), onePush, 200)
	}
	for _, p := range []*world.Process{a, b} {
		if up := guard.Scrape(t, "")[fmt.Sprintf("pushguard_upstream_up{upstream=%q}", p.URL)]; up != 1 {
			t.Errorf("%s is not on the page", p.URL)
		}
	}
	if n := len(guard.State(t)); n != 10 {
		t.Errorf("%d groups are listed, want 10", n)
	}
	rewrite(t, word, "wrong") // is read again as it changes
	for i := range 10 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), onePush, 401)
	}
}

// TestSeveralOpenMetrics: who takes nothing but OpenMetrics gets text as from one
// Pushgateway, and OpenMetrics once the guard has totals to tell with their beginning.
func TestSeveralOpenMetrics(t *testing.T) {
	t.Parallel()
	a, b := world.Pushgateway(t), world.Pushgateway(t)
	guard := world.Guard(t, world.GuardOptions{Policy: world.Write(t, "policy.yml", countPolicy), Flags: []string{"--pushgateway.url=" + a.URL, "--pushgateway.url=" + b.URL}})
	for i := range 10 {
		write(t, guard, "PUT", fmt.Sprintf("/metrics/job/j%d", i), fmt.Sprintf("# TYPE rows gauge\nrows %d\n", i), 200)
	}
	accept := [2]string{"Accept", "application/openmetrics-text;version=1.0.0"}
	bare, page := a.Get(t, "/metrics", accept), guard.Get(t, "/metrics", accept)
	if got, want := media(page), media(bare); page.Status != 200 || got != want {
		t.Errorf("%d %s, from one Pushgateway it is %s", page.Status, got, want)
	}
	write(t, guard, "POST", "/metrics/job/j1", "# TYPE done_total counter\ndone_total 3\n", 200)
	page = guard.Get(t, "/metrics", accept)
	if got := media(page); got != "application/openmetrics-text" {
		t.Fatalf("with totals it is %s", got)
	}
	wants := []string{"\ndone_total{instance=\"\",job=\"j1\"} 3", "\ndone_created{", "\npushguard_upstream_up{"}
	for i := range 10 {
		wants = append(wants, fmt.Sprintf("\nrows{instance=\"\",job=\"j%d\"} %d.0\n", i, i))
	}
	for _, want := range wants {
		if !strings.Contains(page.Body, want) {
			t.Errorf("no %q on the page:\n%s", want, page.Body)
		}
	}
	if strings.Count(page.Body, "# TYPE rows gauge\n") != 1 || !strings.HasSuffix(page.Body, "\n# EOF\n") {
		t.Errorf("the page is not one:\n%s", page.Body)
	}
}

// TestTotalsAsPrometheusAsks: the names of totals are escaped as those of the page that they
// stand on, and none stands there beside a copy from before it was added up.
func TestTotalsAsPrometheusAsks(t *testing.T) {
	t.Parallel()
	file := world.Write(t, "policy.yml", modes("report"))
	guard := world.Guard(t, world.GuardOptions{Policy: file, Flags: []string{
		"--push.enable-utf8-names", "--web.enable-lifecycle",
		"--pushgateway.url=" + world.Pushgateway(t).URL, "--pushgateway.url=" + world.Pushgateway(t).URL,
	}})
	loaded := func(n float64) {
		t.Helper()
		a := guard.Send(t, post("/metrics/job/watched", delimited(&dto.MetricFamily{
			Name: proto.String("rows.loaded"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Counter: &dto.Counter{Value: &n}}},
		}), protobufType))
		if a.Status != 200 {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	loaded(5)
	switchTo(t, guard, file, modes("enforce"))
	loaded(3)
	for accept, want := range map[string]string{
		"text/plain;version=1.0.0;escaping=allow-utf-8": `{"rows.loaded",instance="",job="watched"} 3`,
		"text/plain;version=0.0.4":                      `rows_loaded{instance="",job="watched"} 3`,
		"text/plain;escaping=dots":                      `rows_dot_loaded{instance="",job="watched"} 3`,
		"text/plain;escaping=values":                    `U__rows_2e_loaded{instance="",job="watched"} 3`,
		"application/openmetrics-text;version=1.0.0":    `rows_loaded{instance="",job="watched"} 3.0`,
	} {
		page := guard.Get(t, "/metrics", [2]string{"Accept", accept})
		if !strings.Contains(page.Body, "\n"+want+"\n") {
			t.Errorf("%s: no %s on the page", accept, want)
		}
		if n := strings.Count(page.Body, `,job="watched"} 5`) + strings.Count(page.Body, `{job="watched"} 5`); n > 0 {
			t.Errorf("%s: the copy stands on the page beside the total:\n%s", accept, page.Body)
		}
	}
}

func media(a world.Answer) string {
	media, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";")
	return media
}
