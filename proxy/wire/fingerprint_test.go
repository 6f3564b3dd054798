package wire

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"
)

func TestFingerprint(t *testing.T) {
	a, b := labels.Label{Name: "a", Value: "1"}, labels.Label{Name: "b", Value: "2"}
	one := Fingerprint(1, []labels.Label{a, b})
	if Fingerprint(1, []labels.Label{b, a}) != one {
		t.Error("the order of labels counts")
	}
	if Fingerprint(2, []labels.Label{a, b}) == one {
		t.Error("the seed does not count")
	}
	seen := map[uint64]string{}
	for _, pairs := range []string{"", "a=1", "b=1", "a=1 b=2", "a=2 b=1", "a=1b2", "a1=b2", "a=11", "a1=1"} {
		fp := Fingerprint(1, parsePairs(pairs))
		if other, ok := seen[fp]; ok {
			t.Errorf("%q and %q have one fingerprint", pairs, other)
		}
		seen[fp] = pairs
	}
}

func parsePairs(s string) []labels.Label {
	var ls []labels.Label
	for pair := range strings.FieldsSeq(s) {
		name, value, _ := strings.Cut(pair, "=")
		ls = append(ls, labels.Label{Name: name, Value: value})
	}
	return ls
}

func TestPrintLeavesOutWhatTheGatewayOverwrites(t *testing.T) {
	group := NewKey(parsePairs("job=j x=1")...)
	plain, values := Print(1, group, parsePairs("a=1"), nil)
	if len(values) != 1 {
		t.Fatalf("%d values, want 1", len(values))
	}
	for labels, same := range map[string]bool{
		"a=1 x=9": true, "job=other a=1": true, "a=1 instance=": true,
		"a=1 y=": true, "a=1 instance=i": false, "a=2": false, "": false,
	} {
		fp, _ := Print(1, group, parsePairs(labels), nil)
		if (fp == plain) != same {
			t.Errorf("{%s} is the same metric as {a=1}: %v, want %v", labels, fp == plain, same)
		}
	}
	if _, values := Print(1, group, parsePairs("x=1 job=2 instance= y="), nil); len(values) != 0 {
		t.Errorf("%d values of labels that are the group's or empty", len(values))
	}
}

func TestPrintAllocatesNothing(t *testing.T) {
	group, ls := NewKey(parsePairs("job=j x=1")...), parsePairs("a=1 b=2 x=3")
	dst := make([]LabelValue, 0, 4)
	if n := testing.AllocsPerRun(100, func() { Print(1, group, ls, dst) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestGroupPrinterAgreesWithPrint shows the printer what an upstream lists of
// metrics: their labels, overwritten by those of the group.
func TestGroupPrinterAgreesWithPrint(t *testing.T) {
	name := rapid.SampledFrom([]string{"a", "b", "instance", "x"})
	value := rapid.SampledFrom([]string{"", "1", "2"})
	rapid.Check(t, func(t *rapid.T) {
		own := rapid.MapOf(name, value).Draw(t, "group")
		own["job"] = "j"
		group := NewKey(sortedLabels(own)...)
		p := GroupPrinter{Seed: 7}
		p.Family("empty")
		p.Family("f")
		want, wantValues := []MetricPrint(nil), map[LabelValue]struct{}{}
		for _, pushed := range rapid.SliceOf(rapid.MapOf(name, value)).Draw(t, "metrics") {
			fp, values := Print(7, group, sortedLabels(pushed), nil)
			want = append(want, MetricPrint{fp, 3})
			for _, v := range values {
				wantValues[v] = struct{}{}
			}
			listed := map[string]string{"instance": ""}
			maps.Copy(listed, pushed)
			maps.Copy(listed, own)
			p.Metric(sortedLabels(listed), 3)
		}
		got := p.Finish(group)
		if len(got) != 2 || got[0].Name != "empty" || len(got[0].Metrics) != 0 || got[1].Name != "f" {
			t.Fatalf("families %v", got)
		}
		if d := cmp.Diff(want, got[1].Metrics); d != "" {
			t.Fatal(d)
		}
		gotValues := map[LabelValue]struct{}{}
		for _, v := range got[1].Values {
			gotValues[v] = struct{}{}
		}
		if len(gotValues) != len(got[1].Values) || !maps.Equal(wantValues, gotValues) {
			t.Fatalf("values %v, want %v", got[1].Values, wantValues)
		}
	})
}

func sortedLabels(m map[string]string) []labels.Label {
	var ls []labels.Label
	for _, n := range slices.Sorted(maps.Keys(m)) {
		ls = append(ls, labels.Label{Name: n, Value: m[n]})
	}
	return ls
}
