package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/demand"
	"github.com/pushguard/pushguard/proxy/wire"
)

const dropRuns = "version: v1\ndefault: {mode: enforce, rules: [{id: ids, labels: [run_id], action: drop}]}\n"

// judging is a policy with its cache, pushed through by one passage that is used
// again and again, as pooled ones are.
type judging struct {
	epoch *epoch
	v     *passage
	body  []byte // the memory of every body
}

func newJudging(t *testing.T, rules string) *judging {
	t.Helper()
	p, err := policy.Parse("policy.yml", []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	return &judging{epoch: &epoch{policy: p, verdicts: newVerdicts(1, demand.New(demand.Config{}), false)}, v: &passage{last: map[string]int32{}}}
}

// push judges a text body of a job and returns what would go on.
func (j *judging) push(t *testing.T, job, body string) string {
	t.Helper()
	for i := range j.body {
		j.body[i] = '#' // whatever still points here reads this
	}
	j.body = append(j.body[:0], body...)
	j.v.reset()
	j.v.request.Path = "/metrics/job/" + job
	if err := j.v.address(j.epoch, wire.Options{}); err != nil {
		t.Fatal(err)
	}
	j.v.judgeKey()
	j.v.received, j.v.decoded = j.body, j.body
	if err := j.v.push.Parse(j.v.decoded, wire.Text, j.v.raw, wire.Options{}); err != nil {
		t.Fatal(err)
	}
	j.v.judge(j.epoch)
	j.v.merge()
	out := string(j.v.outgoing(true, false).Body)
	j.v.received, j.v.decoded = nil, nil
	return out
}

// table is a job's table of verdicts.
func (j *judging) table(job string) *verdictTable {
	t := j.epoch.verdicts.table(tableKey{entry: j.epoch.policy.Entry(job).ID, job: job, encoding: wire.Text})
	t.mu.Unlock()
	return t
}

// verdictsOf are the cached verdicts of a job.
func (j *judging) verdictsOf(job string) map[*verdict]bool {
	t := j.table(job)
	out := map[*verdict]bool{}
	for _, generation := range []map[uint64]*verdict{t.young, t.old} {
		for _, v := range generation {
			out[v] = true
		}
	}
	return out
}

// weighed adds up what the cache should say it holds.
func (j *judging) weighed() int {
	sum := 0
	for _, k := range j.epoch.verdicts.tables.Keys() {
		t, _ := j.epoch.verdicts.tables.Peek(k)
		sum += len(k.job)
		for _, generation := range []map[uint64]*verdict{t.young, t.old} {
			for _, v := range generation {
				sum += v.weight()
			}
		}
	}
	return sum
}

func (j *judging) mustBeWithinBounds(t *testing.T) {
	t.Helper()
	c := j.epoch.verdicts
	if got := j.weighed(); got != c.bytes {
		t.Errorf("the cache says it holds %d bytes and holds %d", c.bytes, got)
	}
	if c.bytes > verdictBytes {
		t.Errorf("%d bytes, limit %d", c.bytes, verdictBytes)
	}
	for _, k := range c.tables.Keys() {
		if table, _ := c.tables.Peek(k); table.bytes > 2*fairShare {
			t.Errorf("job %q: %d bytes, fair share %d", k.job, table.bytes, fairShare)
		}
	}
}

// series are n lines that no other start has.
func series(start, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "rows{run_id=\"run-%08d\",table=\"orders_and_more_of_them\"} 1\n", start+i)
	}
	return b.String()
}

// TestAnExplosionKeepsToItself has one job push new runs for ever: its table
// turns over within its share, and the neighbour's verdicts stay.
func TestAnExplosionKeepsToItself(t *testing.T) {
	j := newJudging(t, dropRuns)
	quiet := series(0, 100)
	j.push(t, "quiet", quiet)
	before := j.verdictsOf("quiet")
	if len(before) != 100 {
		t.Fatalf("%d verdicts of 100 series", len(before))
	}
	const pushes, size = 400, 500
	for i := range pushes {
		j.push(t, "loud", series(i*size, size))
		if i%20 == 0 {
			j.push(t, "quiet", quiet)
		}
	}
	if n := j.table("loud").bytes; n < fairShare/4 {
		t.Errorf("%d bytes: this was no explosion", n)
	}
	kept := 0
	for v := range j.verdictsOf("quiet") {
		if before[v] {
			kept++
		}
	}
	if kept < 99 {
		t.Errorf("%d of 100 verdicts were kept, the others judged anew", kept)
	}
	j.mustBeWithinBounds(t)
}

// TestAGrowingPushKeepsToItself has one job push everything it ever pushed and
// more, as clients do that never forget a label value.
func TestAGrowingPushKeepsToItself(t *testing.T) {
	j := newJudging(t, dropRuns)
	quiet := series(0, 100)
	j.push(t, "quiet", quiet)
	before := j.verdictsOf("quiet")
	for n := 2_000; n <= 30_000 && !t.Failed(); n += 2_000 {
		j.push(t, "loud", series(0, n))
		j.mustBeWithinBounds(t)
	}
	for v := range j.verdictsOf("quiet") {
		if !before[v] {
			t.Fatal("the neighbour was judged anew")
		}
	}
}

// TestASteadyPushIsJudgedOnce holds for a push that fills most of a job's share.
func TestASteadyPushIsJudgedOnce(t *testing.T) {
	j := newJudging(t, dropRuns)
	body := series(0, 5000)
	j.push(t, "steady", body)
	before := j.verdictsOf("steady")
	for range 3 {
		j.push(t, "steady", body)
	}
	after := j.verdictsOf("steady")
	for v := range after {
		if !before[v] {
			t.Fatalf("of %d verdicts some were made anew; %d bytes, fair share %d", len(after), j.table("steady").bytes, fairShare)
		}
	}
}

// TestManyJobsAreBounded has more jobs than there are tables.
func TestManyJobsAreBounded(t *testing.T) {
	j := newJudging(t, dropRuns)
	for i := range verdictJobs + 500 {
		j.push(t, fmt.Sprint("job", i), series(i, 2))
	}
	if n := j.epoch.verdicts.tables.Len(); n != verdictJobs {
		t.Errorf("%d tables, want %d", n, verdictJobs)
	}
	j.mustBeWithinBounds(t)
}

// TestAllJobsTogetherAreBounded has as many jobs explode as the whole cache has
// shares, twice.
func TestAllJobsTogetherAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	j := newJudging(t, dropRuns)
	for i := range 2 * verdictBytes / fairShare {
		j.push(t, fmt.Sprint("job", i), series(0, 6000))
		j.mustBeWithinBounds(t)
	}
	if n := j.epoch.verdicts.tables.Len(); n == 2*verdictBytes/fairShare {
		t.Error("nothing had to go: this was no test of the bound")
	}
}

// TestAHashIsNotAnIdentity puts a verdict about one metric under the hash of
// another: it decides nothing.
func TestAHashIsNotAnIdentity(t *testing.T) {
	c := newVerdicts(1, demand.New(demand.Config{}), false)
	table := c.table(tableKey{job: "a"})
	defer table.mu.Unlock()
	const h = 7
	stored := &verdict{family: "rows", identity: `run="1"`}
	c.put(table, h, stored)
	for _, tc := range []struct {
		name, family, identity string
		want                   *verdict
	}{
		{"the same metric", "rows", `run="1"`, stored},
		{"other labels", "rows", `run="2"`, nil},
		{"no labels", "rows", "", nil},
		{"another family", "bytes", `run="1"`, nil},
		{"the same bytes, cut elsewhere", "rowsr", `un="1"`, nil},
	} {
		if got := table.get(h, tc.family, tc.identity); got != tc.want {
			t.Errorf("%s: verdict %v", tc.name, got)
		}
	}
	other := &verdict{family: "rows", identity: `run="2"`}
	c.put(table, h, other)
	if table.get(h, "rows", `run="1"`) != nil || table.get(h, "rows", other.identity) != other {
		t.Error("the later of two metrics with one hash does not stand alone")
	}
	if n := len("a") + other.weight(); table.bytes != n || c.bytes != n {
		t.Errorf("%d and %d bytes, want %d: what was replaced still weighs", table.bytes, c.bytes, n)
	}
}

// TestVerdictsKeepNothingOfABody overwrites the body after every push: a cached
// verdict that pointed into it would now say something else.
func TestVerdictsKeepNothingOfABody(t *testing.T) {
	const rules = `
version: v1
default:
  mode: enforce
  rules:
  - {id: ids, labels: [run_id], action: drop}
  - {id: shards, labels: [shard], action: replace, replacement: any}
  - {id: days, labels: [day], action: template}
`
	const body = "# TYPE rows_total counter\n" +
		`rows_total{run_id="1",shard="3",day="2026-01-01",table="orders"} 1` + "\n" +
		`rows_total{run_id="2",shard="4",day="2026-01-02",table="users"} 2` + "\n"
	const want = "# TYPE rows_total counter\n" +
		`rows_total{shard="any",day="<date>",table="orders"} 1` + "\n" +
		`rows_total{shard="any",day="<date>",table="users"} 2` + "\n"
	j := newJudging(t, rules)
	findings := ""
	first := map[*verdict]bool{}
	for i := range 4 {
		elsewhere := strings.Repeat("#\n", i)
		if got := j.push(t, "nightly", elsewhere+body); got != elsewhere+want {
			t.Fatalf("push %d\ngot  %q\nwant %q", i, got, elsewhere+want)
		}
		for v := range j.verdictsOf("nightly") {
			if i == 0 {
				first[v] = true
			} else if !first[v] && v.family == "rows_total" {
				t.Errorf("push %d was judged anew", i)
			}
		}
		said := fmt.Sprint(j.v.findings.All())
		if findings == "" {
			findings = said
		}
		if said != findings || strings.Contains(said, "#") {
			t.Errorf("push %d found\n%s\nand the first\n%s", i, said, findings)
		}
		j.push(t, "nightly", "# HELP other Something long enough to lie over all of the former body, as a pooled buffer does.\nother{table=\"zzzzzzzzzzzzzzzzzzzzzzzzzzzz\"} 9\n")
	}
}

// TestVerdictsAreTheEntrysOwn has two jobs with different rules push the same.
func TestVerdictsAreTheEntrysOwn(t *testing.T) {
	j := newJudging(t, "version: v1\ndefault: {mode: enforce}\njobs:\n- job: strict\n  rules: [{id: ids, labels: [run_id], action: drop}]\n")
	const body = "rows{run_id=\"1\"} 1\n"
	for range 2 {
		if got := j.push(t, "lax", body); got != body {
			t.Errorf("lax: %q", got)
		}
		if got := j.push(t, "strict", body); got != "rows 1\n" {
			t.Errorf("strict: %q", got)
		}
	}
}
