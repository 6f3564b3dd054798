package learn_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/deploy"
	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/policy/learn"
	"github.com/pushguard/pushguard/proxy"
	"github.com/pushguard/pushguard/proxy/trial"
)

var update = flag.Bool("update", false, "write testdata/*.yml anew; read the difference before believing it")

func draft(t testing.TB, page, mode string) string {
	s, err := learn.New(deploy.ExamplePolicy)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Read(t.Context(), strings.NewReader(page)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if left, err := s.Draft(&out, mode); err != nil || left != 0 {
		t.Fatalf("left out %d, error %v", left, err)
	}
	return out.String()
}

func parse(t testing.TB, draft string) *policy.Policy {
	p, err := policy.Parse("draft.yml", []byte(draft))
	if err != nil {
		t.Fatalf("%v in\n%s", err, draft)
	}
	return p
}

func TestDraftsOfCaptures(t *testing.T) {
	pages, _ := filepath.Glob("testdata/*.prom")
	if len(pages) < 3 {
		t.Fatalf("only %d pages in testdata", len(pages))
	}
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			in, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			got := draft(t, string(in), "report")
			parse(t, got)
			golden := strings.TrimSuffix(page, ".prom") + ".yml"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a job pushes whose labels are bounded passes the enforced draft as it came; of
// the others only the label that names the run goes. All go through one guard, so that
// the budgets are those of everything. The model knows which label it made endless, and
// nothing of shapes and rules.
func TestADraftChangesOnlyWhatIsUnbounded(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var page strings.Builder
		test := policy.Test{Name: "replay", Start: time.Unix(1.8e9, 0).UTC()}
		jobs := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"load", "a.b", "no", "backup-db", "Ünï", `q"\`}), 1, 4, rapid.ID[string]).Draw(rt, "jobs")
		for _, job := range jobs {
			test.Steps = append(test.Steps, pushOf(rt, job, &page))
		}
		made := draft(t, page.String(), "enforce")
		cfg := trial.Config{
			Policy: parse(t, made), UTF8Names: true,
			Caps: proxy.Caps{Body: 1 << 20, Decoded: 1 << 20, Samples: 10_000, Labels: 64, LabelValue: 4096},
		}
		diffs, err := trial.Test(t.Context(), cfg, test)
		if err != nil {
			rt.Fatal(err)
		}
		for _, d := range diffs {
			rt.Errorf("job %q: %s (-want +got):\n%s", test.Steps[d.Step].Job, d.What, cmp.Diff(d.Want, d.Got))
		}
		if len(diffs) > 0 {
			rt.Logf("under\n%s", made)
		}
	})
}

// pushOf makes the push of a job, and writes it to the page, too.
func pushOf(rt *rapid.T, job string, page *strings.Builder) policy.TestStep {
	step := policy.TestStep{Method: "PUT", Job: job, Want: policy.TestWant{Outcome: "passed", Findings: []string{}, Metrics: []string{}}}
	unbounded := rapid.Bool().Draw(rt, "unbounded")
	run := ""
	if unbounded {
		step.Want.Outcome = "changed"
		step.Want.Findings = nil
		run = fmt.Sprintf("6f1c6c1e-0b1f-4c39-9d3a-%012x", rapid.Uint32().Draw(rt, "run"))
	}
	n := rapid.SampledFrom([]int{1, 2, 40, 300}).Draw(rt, "series")
	region := rapid.SampledFrom([]string{"eu", "us-east", "prod", "Größe"}).Draw(rt, "region")
	for i := range n {
		ls := labels.FromStrings("region", region, "table", fmt.Sprintf("t%c%c", 'a'+i/26, 'a'+i%26))
		step.Want.Metrics = append(step.Want.Metrics, policy.SeriesLine("rows_total", ls)+" 1")
		b := labels.NewBuilder(ls)
		if unbounded {
			b.Set("ref", run)
		}
		step.Body += policy.SeriesLine("rows_total", b.Labels()) + " 1\n"
		page.WriteString(policy.SeriesLine("rows_total", b.Set("job", job).Labels()) + " 1\n")
	}
	fmt.Fprintf(page, "push_time_seconds%s 1.8e9\n", labels.FromStrings("job", job).String())
	return step
}

func TestHeadroomAndLifetimes(t *testing.T) {
	var page strings.Builder
	for i := range 51 {
		fmt.Fprintf(&page, "a{job=\"x\",table=\"t%c%c\"} 1\n", 'a'+i/26, 'a'+i%26)
	}
	page.WriteString("push_time_seconds{job=\"x\"} 1.8e9\npush_time_seconds{job=\"y\"} 1.7e9\n")
	got := draft(t, page.String(), "report")
	for _, want := range []string{
		"    series: 200  # seen: 52\n", // 51 and the time
		"    label_values: 200  # the most are left of \"table\": 51\n",
		"  stale_after: 7d  # pushed from 2027-01-15T08:00:00Z",
		"  stale_after: 2315d  # pushed from 2023-11-14T22:13:20Z", // twice 1e8 s
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// The entry of a job that carries a run governs the next one, too, also where the name
// is longer than what is shown of it.
func TestTheNextRunIsTheSameJob(t *testing.T) {
	for _, job := range []string{"etl", "a_name_that_is_by_far_longer_than_what_a_comment_shows_of_it"} {
		p := parse(t, draft(t, "a{job=\""+job+"_20260101\"} 1\n", "report"))
		if got := p.Entry(p.FoldJob(job + "_20260102")).Name; got != job {
			t.Errorf("%s is governed by %s", job, got)
		}
	}
}

func TestSecretsAreNotInADraft(t *testing.T) {
	got := draft(t, `a{job="x",mail="jane.roe@example.com",key="AKIAIOSFODNN7EXAMPLEKEY12"} 1`+"\n", "report")
	for _, secret := range []string{"jane.roe", "AKIAIOSFODNN7"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is in\n%s", secret, got)
		}
	}
}

// What is too much for a policy file is counted and told, and the rest is one.
func TestMoreJobsThanAFileHasRoomFor(t *testing.T) {
	s, err := learn.New(deploy.ExamplePolicy)
	if err != nil {
		t.Fatal(err)
	}
	var page strings.Builder
	for i := range 5001 {
		fmt.Fprintf(&page, "a{job=\"j%c%c%c\",%s=\"v\"} 1\n", 'a'+i/676, 'a'+i/26%26, 'a'+i%26, strings.Repeat("l", 100))
	}
	if err := s.Read(t.Context(), strings.NewReader(page.String())); err != nil {
		t.Fatal(err)
	}
	if s.Jobs() != 5000 || s.Beyond() != 1 {
		t.Errorf("%d jobs, %d series beyond, want 5000 and 1", s.Jobs(), s.Beyond())
	}
	var out bytes.Buffer
	left, err := s.Draft(&out, "report")
	if err != nil || left == 0 || out.Len() > 1<<20 {
		t.Errorf("%d bytes, %d left out, error %v", out.Len(), left, err)
	}
	if got := len(parse(t, out.String()).Entries()); got != 5000-left+1 {
		t.Errorf("%d entries, %d left out", got, left)
	}
}

// slow gives a byte at a time, so that no read ends with a line.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) { return s.r.Read(p[:1]) }

func TestReadInPieces(t *testing.T) {
	s, _ := learn.New(deploy.ExamplePolicy)
	page := "# TYPE a counter\na{job=\"x\"} 1\nb 2\npushguard_job_findings{job=\"x\"} 3\nc{job=\"y\"} 1"
	if err := s.Read(t.Context(), slow{strings.NewReader(page)}); err != nil {
		t.Fatal(err)
	}
	if s.Series() != 2 || s.Jobs() != 2 || s.Without() != 2 {
		t.Errorf("%d series of %d jobs, %d passed over", s.Series(), s.Jobs(), s.Without())
	}
}

func TestReadFails(t *testing.T) {
	s, _ := learn.New(deploy.ExamplePolicy)
	if err := s.Read(t.Context(), strings.NewReader("<html>\n")); err == nil || !strings.Contains(err.Error(), "not the text format") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Read(ctx, strings.NewReader("a 1\n")); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func FuzzDraft(f *testing.F) {
	f.Add("# TYPE a counter\na{job=\"x\",b=\"6f1c6c1e-0b1f-4c39-9d3a-0e5f6a1b2c3d\"} 1\npush_time_seconds{job=\"x\"} 1.8e9\n")
	f.Add("{\"ü\",job=\"null\",\"a b\"=\"1.5\"} 1\n")
	f.Add("a{job=\"\\n\\\"\",version=\"2026-01-01\"} NaN\npush_time_seconds{job=\"y\"} -Inf\n")
	f.Fuzz(func(t *testing.T, page string) {
		s, _ := learn.New(deploy.ExamplePolicy)
		if s.Read(t.Context(), strings.NewReader(page)) != nil {
			return
		}
		var out bytes.Buffer
		if _, err := s.Draft(&out, "enforce"); err != nil {
			t.Fatal(err)
		}
		parse(t, out.String())
	})
}
