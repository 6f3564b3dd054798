package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the dashboards")

// The dashboards that are shipped are those that this package makes.
func TestDashboardsAreCurrent(t *testing.T) {
	if *update {
		main()
	}
	made := files()
	shipped, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(shipped) != len(made) {
		t.Fatalf("%s has %v, %v, want %d files", folder, shipped, err, len(made))
	}
	for name, want := range made {
		got, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the code makes (%v): go generate ./deploy/grafana/gen", name, err)
		}
	}
}

// everyPanel calls do with each panel of both dashboards.
func everyPanel(t *testing.T, do func(t *testing.T, p panel)) {
	t.Helper()
	for _, d := range []dashboard{batch(), guard()} {
		seen := map[string]bool{}
		for _, r := range d.rows {
			for _, p := range r.panels {
				if seen[p.title] {
					t.Errorf("%s: two panels are called %q", d.title, p.title)
				}
				seen[p.title] = true
				t.Run(d.title+"/"+p.title, func(t *testing.T) { do(t, p) })
			}
		}
	}
}

// quantities say in which units a query may be shown, by what it has; the first that
// matches counts.
var quantities = []struct {
	query *regexp.Regexp
	units []string
}{
	{regexp.MustCompile(`^\(?time\(\).*/ on \(job\)`), []string{"none"}},
	{regexp.MustCompile(`^time\(\)`), []string{"s"}},
	{regexp.MustCompile(`^count\(|^count by|^[^/]*increase\([^/]*$`), []string{"short", "none"}},
	{regexp.MustCompile(`histogram_quantile|_seconds_sum\[[^/]*/ `), []string{"s"}},
	{regexp.MustCompile(`cpu_seconds_total`), []string{"none"}},
	{regexp.MustCompile(` / |_ratio\)|^avg\(`), []string{"percentunit"}},
	{regexp.MustCompile(`rate\(rows_`), []string{"rowsps"}},
	{regexp.MustCompile(`rate\(pushguard_(pushes|upstream_request)`), []string{"reqps"}},
	{regexp.MustCompile(`rate\(\w+_bytes_total`), []string{"Bps"}},
	{regexp.MustCompile(`rate\(`), []string{"cps"}},
	{regexp.MustCompile(`_bytes`), []string{"bytes"}},
	{regexp.MustCompile(`_(duration|age)_seconds`), []string{"s"}},
	{regexp.MustCompile(`^(?:topk\(\d+, )?(?:sum|max|min|clamp_min)|^go_goroutines|^process_open_fds`), []string{"short", "none"}},
}

// A panel's unit is that of what it asks for, in all its queries.
func TestUnitsAreThoseOfTheQueries(t *testing.T) {
	everyPanel(t, func(t *testing.T, p panel) {
		for _, q := range p.queries {
			at := slices.IndexFunc(quantities, func(k struct {
				query *regexp.Regexp
				units []string
			},
			) bool {
				return k.query.MatchString(q.expr)
			})
			if at < 0 || !slices.Contains(quantities[at].units, p.unit) {
				t.Errorf("unit %q of %s", p.unit, q.expr)
			}
		}
	})
}

// Red comes after yellow, a share of something turns red before all of it is gone, and
// every panel is described.
func TestThresholdsAndWords(t *testing.T) {
	everyPanel(t, func(t *testing.T, p panel) {
		if p.warn > 0 && p.bad > 0 && p.warn >= p.bad {
			t.Errorf("yellow from %v, red from %v", p.warn, p.bad)
		}
		if p.kind == bargauge && p.bad == 0 {
			t.Error("a bar that never turns red")
		}
		if !strings.HasSuffix(p.about, ".") || len(p.queries) == 0 || p.wide() > gridWidth {
			t.Errorf("about %q, %d queries, %d columns", p.about, len(p.queries), p.wide())
		}
	})
}

// The bounds that the panels' words say are those of alerts are.
func TestThresholdsAreThoseOfTheAlerts(t *testing.T) {
	var rules strings.Builder
	for _, name := range []string{"batch", "pushguard"} {
		content, err := os.ReadFile("../../prometheus/rules/" + name + ".yml")
		if err != nil {
			t.Fatal(err)
		}
		rules.Write(content)
	}
	named := regexp.MustCompile(`(Red|Yellow) is when (\w+) fires`)
	found := 0
	everyPanel(t, func(t *testing.T, p panel) {
		m := named.FindStringSubmatch(p.about)
		if m == nil {
			return
		}
		found++
		_, rule, ok := strings.Cut(rules.String(), "- alert: "+m[2]+"\n")
		rule, _, _ = strings.Cut(rule, "- alert: ")
		bound := fmt.Sprint(map[string]float64{"Red": p.bad, "Yellow": p.warn}[m[1]])
		if bound == "93600" {
			bound = "26 * 3600"
		}
		if !ok || !regexp.MustCompile(`> (on \(job\) )?`+regexp.QuoteMeta(bound)).MatchString(rule) {
			t.Errorf("%s: the bound of the panel is %s, of the alert\n%s", m[2], bound, rule)
		}
	})
	if found < 6 {
		t.Errorf("only %d panels name their alert", found)
	}
}

var grafanaVariable = regexp.MustCompile(`\$\{([^}:]+)(?::[a-z]+)?\}`)

// Links lead to the console, to Loki or to the other dashboard, with variables that
// there are and a URL that parses once they are replaced.
func TestLinksLeadSomewhere(t *testing.T) {
	known := map[string]string{
		"console": "http://g:9091", "loki": "loki", "__from": "1", "__to": "2", "owner": "owner=a", "job": "job=b",
		"__field.labels.job": "nightly", "__data.fields.job": "nightly",
	}
	follow := func(t *testing.T, link string) *url.URL {
		t.Helper()
		whole := grafanaVariable.ReplaceAllStringFunc(link, func(v string) string {
			value, ok := known[grafanaVariable.FindStringSubmatch(v)[1]]
			if !ok {
				t.Errorf("%s: no variable %s", link, v)
			}
			return value
		})
		u, err := url.Parse(whole)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	linked := 0
	everyPanel(t, func(t *testing.T, p panel) {
		for _, l := range p.links() {
			linked++
			u := follow(t, l.(object)["url"].(string))
			switch u.Path {
			case "/guard/job":
				if u.Query().Get("name") != "nightly" {
					t.Errorf("no job's page: %s", u)
				}
			case "/explore":
				const want = `{"a":{"datasource":"loki","queries":[{"refId":"A","expr":"{source=\"pushguard\"} | job=\"nightly\""}],"range":{"from":"1","to":"2"}}}`
				if got := u.Query().Get("panes"); got != want {
					t.Errorf("panes are\n%s, want\n%s", got, want)
				}
			default:
				t.Errorf("nothing is at %s", u)
			}
		}
	})
	if linked < 20 {
		t.Errorf("only %d links of panels", linked)
	}
	for uid, other := range map[string]dashboard{"/d/" + batch().uid: guard(), "/d/" + guard().uid: batch()} {
		for i, want := range []string{uid, "/guard/"} {
			if u := follow(t, other.json()["links"].([]any)[i].(object)["url"].(string)); u.Path != want {
				t.Errorf("%s: a link to %s, want %s", other.title, u, want)
			}
		}
	}
}

// Panels are inside of the grid, and none lies on another.
func TestPanelsDoNotOverlap(t *testing.T) {
	for _, d := range []dashboard{batch(), guard()} {
		taken := map[[2]int]string{}
		for _, each := range d.json()["panels"].([]any) {
			p := each.(object)
			at := p["gridPos"].(object)
			for x := range at["w"].(int) {
				for y := range at["h"].(int) {
					cell := [2]int{at["x"].(int) + x, at["y"].(int) + y}
					if other, ok := taken[cell]; ok || cell[0] >= gridWidth {
						t.Fatalf("%s: %q lies on %q", d.title, p["title"], other)
					}
					taken[cell] = fmt.Sprint(p["title"])
				}
			}
		}
	}
}
