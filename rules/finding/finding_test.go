package finding_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/rules/finding"
)

func TestString(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   finding.Finding
		want string
	}{
		{
			"a rule's finding",
			finding.Finding{ID: "ids", Label: "run_id", Metric: "rows", Count: 3, Sample: "3f2b8c1e…", Fix: "leave the label out"},
			"ids: label run_id, metric rows, seen 3 times, such as 3f2b8c1e…; fix: leave the label out",
		},
		{
			"once, in the grouping key",
			finding.Finding{ID: finding.Allowlist, Label: "pod", Count: 1},
			"allowlist: label pod, seen once",
		},
		{
			"a limit",
			finding.Finding{ID: finding.SampleLimit, Count: 6000, Limit: 5000, Fix: "push fewer series"},
			"sample_limit: 6000, limit 5000; fix: push fewer series",
		},
		{"only an id", finding.Finding{ID: finding.Protocol}, "protocol"},
		{"the zero value", finding.Finding{}, ""},
		{
			"data that would break the line",
			finding.Finding{ID: "a\nb", Label: "x\r\ny", Metric: "m\x00", Sample: "\x1b[2J\xff", Fix: "do\tthis\u2028now"},
			"a b: label x  y, metric m\ufffd, such as \ufffd[2J\ufffd; fix: do this now",
		},
		{
			"a name too long for a line",
			finding.Finding{ID: "ids", Label: strings.Repeat("n", 1<<20)},
			"ids: label " + strings.Repeat("n", 61) + "…",
		},
		{
			"a name that just fits",
			finding.Finding{ID: "ids", Label: strings.Repeat("n", 64)},
			"ids: label " + strings.Repeat("n", 64),
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.in.String(); got != tc.want {
				t.Errorf("\ngot  %q\nwant %q", got, tc.want)
			}
		})
	}
}

func FuzzString(f *testing.F) {
	f.Add("ids", "rows", "run_id", "x", "fix", 3, 0)
	f.Add("\n", "\xff", "\u2029", "\x85", "\r", 0, -1)
	f.Fuzz(func(t *testing.T, id, metric, label, sample, fix string, count, limit int) {
		s := finding.Finding{ID: id, Metric: metric, Label: label, Sample: sample, Fix: fix, Count: count, Limit: limit}.String()
		mustBeOneLine(t, s)
		if len(s) > 600 {
			t.Errorf("%d bytes: %q", len(s), s)
		}
	})
}

func TestListFoldsTheSameIDAndLabel(t *testing.T) {
	var l finding.List
	l.Add(finding.Finding{ID: "ids", Label: "run_id", Metric: "rows", Sample: "first", Count: 1})
	l.Add(finding.Finding{ID: "ids", Label: "pod", Metric: "rows", Count: 1})
	l.Add(finding.Finding{ID: "paths", Label: "run_id", Metric: "rows", Count: 1})
	l.Add(finding.Finding{ID: "ids", Label: "run_id", Metric: "bytes", Sample: "second", Count: 2})
	want := []finding.Finding{
		{ID: "ids", Label: "run_id", Metric: "rows", Sample: "first", Count: 3},
		{ID: "ids", Label: "pod", Metric: "rows", Count: 1},
		{ID: "paths", Label: "run_id", Metric: "rows", Count: 1},
	}
	if d := cmp.Diff(want, l.All()); d != "" {
		t.Error(d)
	}
}

func TestListKeepsTheLargestCountAgainstALimit(t *testing.T) {
	var l finding.List
	for _, n := range []int{35, 40, 31} {
		l.Add(finding.Finding{ID: finding.LabelLimit, Count: n, Limit: 30})
	}
	if got := l.All()[0].Count; got != 40 {
		t.Errorf("count %d, want 40: three metrics with too many labels do not make one with 106", got)
	}
}

func TestListIsBounded(t *testing.T) {
	for _, tc := range []struct {
		name            string
		add, kept, more int
	}{
		{"under", 31, 31, 0},
		{"at", 32, 32, 0},
		{"over", 40, 32, 8},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var l finding.List
			for i := range tc.add {
				l.Add(finding.Finding{ID: "ids", Label: fmt.Sprint("l", i), Count: 1})
			}
			l.Add(finding.Finding{ID: "ids", Label: "l0", Count: 1})
			if l.Len() != tc.kept || l.More() != tc.more {
				t.Errorf("%d kept and %d more, want %d and %d", l.Len(), l.More(), tc.kept, tc.more)
			}
			if got := l.All()[0].Count; got != 2 {
				t.Errorf("a known finding was not counted at the bound: %d", got)
			}
		})
	}
}

func TestListReset(t *testing.T) {
	var l finding.List
	for i := range 40 {
		l.Add(finding.Finding{ID: fmt.Sprint(i), Count: 1})
	}
	l.Reset()
	if l.Len() != 0 || l.More() != 0 || len(l.All()) != 0 {
		t.Errorf("not empty: %d, %d more", l.Len(), l.More())
	}
	l.Add(finding.Finding{ID: "0", Count: 1})
	if got := l.All()[0].Count; got != 1 {
		t.Errorf("the last push was counted again: %d", got)
	}
}

func TestListAddOfAKnownFindingAllocatesNothing(t *testing.T) {
	var l finding.List
	f := finding.Finding{ID: "ids", Label: "run_id", Count: 1}
	l.Add(f)
	if n := testing.AllocsPerRun(100, func() { l.Add(f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestListKeepsTheFixOfTheLargestCount(t *testing.T) {
	var l finding.List
	for _, f := range []finding.Finding{
		{ID: finding.SeriesBudget, Metric: "a", Count: 5, Limit: 4, Fix: "1 new over it"},
		{ID: finding.SeriesBudget, Metric: "b", Count: 8, Limit: 4, Fix: "4 new over it"},
		{ID: finding.SeriesBudget, Metric: "c", Count: 6, Limit: 4, Fix: "2 new over it"},
	} {
		l.Add(f)
	}
	want := []finding.Finding{{ID: finding.SeriesBudget, Metric: "a", Count: 8, Limit: 4, Fix: "4 new over it"}}
	if diff := cmp.Diff(want, l.All()); diff != "" {
		t.Error(diff)
	}
}
