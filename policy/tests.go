package policy

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Test is what a policy is to do with pushes that come one after the other.
type Test struct {
	// Name is what the test shows.
	Name string
	// File and Line are where it stands.
	File string
	Line int
	// Start is when it begins, in UTC.
	Start time.Time
	// StatsD says that the guard has a StatsD socket.
	StatsD bool
	// Steps are its pushes in their order, at least one.
	Steps []TestStep
}

// TestStep is a push, a DELETE, or with an empty Method a look at what is there.
type TestStep struct {
	// Line is where it stands in the test's file.
	Line int
	// At is when it comes, from the test's start on.
	At     time.Duration
	Method string
	Job    string
	// Grouping are the other labels of the grouping key.
	Grouping []labels.Label
	Header   http.Header
	Body     string
	Want     TestWant
}

// TestWant is what is expected of a step. What is nil, empty or 0 is not looked at;
// an empty list that is not nil is looked for.
type TestWant struct {
	Outcome, Would string
	Findings       []string
	// Group are the labels of the grouping key that is forwarded.
	Group map[string]string
	// Metrics, Increments and Page are series, as ParseSeries returns them.
	Metrics, Increments, Page []string
	SeriesLeft, GroupsLeft    *int
	Status                    int
	// Answer is a part of the body.
	Answer string
}

// firstDay is when a test begins that does not say.
func firstDay() time.Time { return time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC) }

// IsTestFile reports whether a file, by its name, holds the tests of a policy rather
// than one: NAME_test.yml or NAME_test.yaml.
func IsTestFile(name string) bool {
	return strings.HasSuffix(name, "_test.yml") || strings.HasSuffix(name, "_test.yaml")
}

// LoadTests reads the tests in a file beside a policy, and the path of the policy
// they are for, which is told beside faults, too. The error is Faults if the file can
// be read.
func LoadTests(file string) (policy string, tests []Test, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", nil, fmt.Errorf("read tests: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return "", nil, fmt.Errorf("read tests: %w", err)
	}
	return parseTests(file, data)
}

// parseTests reads a file of tests and returns the path of the policy they are for,
// as seen from where the program runs, also beside faults. The error is Faults, which
// call the file name.
func parseTests(name string, data []byte) (policy string, tests []Test, err error) {
	d := &decoder{source: name}
	var f testFile
	if root := d.document(data); root != nil {
		f = d.testFile(root)
	}
	tests = d.compileTests(f.tests)
	if len(d.faults) > 0 {
		return policyOf(name, f.policy.text), nil, d.faults.sorted()
	}
	return policyOf(name, f.policy.text), tests, nil
}

// policyOf is the policy that a file of tests is for.
func policyOf(file, said string) string {
	switch {
	case filepath.IsAbs(said):
		return said
	case said != "":
		return filepath.Join(filepath.Dir(file), said)
	}
	ext := filepath.Ext(file)
	return strings.TrimSuffix(strings.TrimSuffix(file, ext), "_test") + ext
}

// Tests are those in the policy's own files, in their order.
func (p *Policy) Tests() []Test { return slices.Clone(p.tests) }

// compileTests turns written tests into ones that can be run.
func (d *decoder) compileTests(written []test) []Test {
	var out []Test
	lines := make(map[string]int)
	for i := range written {
		t := &written[i]
		if line := lines[t.name.text]; line > 0 && t.name.written() {
			d.fault(t.name.spot, fmt.Sprintf("test %q", cut(t.name.text)), "duplicate name: first on line %d", line)
		}
		lines[t.name.text] = t.name.line
		out = append(out, t.compile(d.source))
	}
	return out
}

func (t *test) compile(file string) Test {
	out := Test{Name: t.name.text, File: file, Line: t.line, Start: firstDay(), StatsD: t.statsd.value}
	if t.start.written() {
		out.Start = t.start.day
	}
	if t.pushes == nil {
		out.Steps = []TestStep{t.only.compile(testPush{}, 0)}
		return out
	}
	now := t.only.at.value
	for i := range t.pushes {
		s := t.pushes[i].compile(t.only, now)
		now = s.At
		out.Steps = append(out.Steps, s)
	}
	return out
}

// compile fills in what the test says for all of its pushes.
func (p *testPush) compile(of testPush, now time.Duration) TestStep {
	s := TestStep{
		Line: p.line, At: now, Job: cmp.Or(p.job.text, of.job.text), Header: http.Header{},
		Want: p.want.compile(),
	}
	if p.at.written() {
		s.At = p.at.value
	}
	for _, l := range first(p.grouping, of.grouping).list {
		s.Grouping = append(s.Grouping, labels.Label{Name: l.name.text, Value: l.value.text})
	}
	for _, h := range first(p.headers, of.headers).list {
		s.Header.Add(h.name.text, h.value.text)
	}
	method := cmp.Or(p.method.text, of.method.text, http.MethodPut)
	if p.sends(of) {
		s.Method, s.Body = method, p.push.text
	}
	if s.Body != "" && !strings.HasSuffix(s.Body, "\n") {
		s.Body += "\n"
	}
	return s
}

// sends reports whether there is a request.
func (p *testPush) sends(of testPush) bool {
	return p.push.written() || cmp.Or(p.method.text, of.method.text) == http.MethodDelete
}

func (w *testWant) compile() TestWant {
	out := TestWant{
		Outcome: w.outcome.text, Would: w.would.text, Status: int(w.status.value), Answer: w.answer.text,
		Metrics: w.metrics.series(), Increments: w.increments.series(), Page: w.page.series(),
		SeriesLeft: w.left.series.orNil(), GroupsLeft: w.left.groups.orNil(),
	}
	if w.findings.written() {
		out.Findings = texts(w.findings)
		slices.Sort(out.Findings)
		out.Findings = slices.Compact(out.Findings)
	}
	if w.group.written() {
		out.Group = make(map[string]string)
		for _, l := range w.group.list {
			out.Group[l.name.text] = l.value.text
		}
	}
	return out
}

// orNil is nil for what is not written.
func (n number) orNil() *int {
	if !n.written() {
		return nil
	}
	v := int(n.value)
	return &v
}

// series are those of a text that was read as such; nil if nothing is written.
func (w word) series() []string {
	if !w.written() {
		return nil
	}
	out, _ := ParseSeries(w.text)
	return out
}

// checkTest finds what is wrong with a test as far as its fields could be read.
func (d *decoder) checkTest(t *test, where string) {
	switch unread := t.only.faulty; {
	case t.pushes == nil && !t.only.want.written() && !unread["want"] && !unread["pushes"]:
		d.fault(t.spot, where, "want is missing: a test that expects nothing cannot fail")
	case t.pushes == nil:
		d.checkPush(&t.only, testPush{}, where)
		return
	}
	for _, misplaced := range []struct {
		name string
		spot
	}{{"push", t.only.push.spot}, {"want", t.only.want.spot}} {
		if t.pushes != nil && misplaced.written() {
			d.fault(misplaced.spot, where, "%s beside pushes: write it in one of them", misplaced.name)
		}
	}
	d.checkPushes(t, where)
}

func (d *decoder) checkPushes(t *test, where string) {
	now, wants := t.only.at.value, false
	for i := range t.pushes {
		p, where := &t.pushes[i], prefix(where, fmt.Sprintf("push %d", i+1))
		wants = wants || p.want.written() || p.faulty["want"]
		if p.at.written() && p.at.value < now {
			d.fault(p.at.spot, where, "at: %s is before the push above it", model.Duration(p.at.value))
		}
		now = max(now, p.at.value)
		d.checkPush(p, t.only, where)
	}
	if t.pushes != nil && !wants {
		d.fault(t.spot, where, "no push has a want: a test that expects nothing cannot fail")
	}
}

// checkPush finds what does not go together.
func (d *decoder) checkPush(p *testPush, of testPush, where string) {
	unread := func(key string) bool { return p.faulty[key] || of.faulty[key] }
	sends := p.sends(of) || unread("push") || unread("method")
	if first(p.job, of.job).text == "" && !unread("job") && (sends || p.want.left.series.written() || p.want.left.groups.written()) {
		d.fault(p.spot, where, "job is missing: the job that pushes")
	}
	if p.push.written() && cmp.Or(p.method.text, of.method.text) == http.MethodDelete {
		d.fault(p.push.spot, where, "push: a DELETE has no body")
	}
	for _, l := range p.grouping.list {
		if l.name.text == model.JobLabel {
			d.fault(l.name.spot, where, "grouping: the job is written as job")
		}
	}
	w := &p.want
	for _, of := range []struct {
		name string
		spot
	}{
		{"outcome", w.outcome.spot},
		{"would", w.would.spot},
		{"findings", w.findings.spot},
		{"group", w.group.spot},
		{"metrics", w.metrics.spot},
		{"increments", w.increments.spot},
		{"status", w.status.spot},
		{"answer", w.answer.spot},
	} {
		if !sends && of.written() {
			d.fault(of.spot, where, "want: %s of a push, but nothing is pushed", of.name)
		}
	}
}
