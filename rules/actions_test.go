package rules_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/rules"
)

// A value never moves to another bucket: that would make a new series of it.
// The hashes are xxHash's own test vectors: d24ec4f1a98c6e5b for a,
// 44bc2cf5ad770999 for abc.
func TestBucketsStayForEver(t *testing.T) {
	for _, tc := range []struct {
		buckets     int
		value, want string
	}{
		{16, "a", "b11"},
		{16, "abc", "b09"},
		{256, "a", "b091"},
		{256, "abc", "b153"},
		{1, "a", "b0"},
		{2, "a", "b1"},
		{10, "", ""},
		{16, "b07", "b07"},
		{16, "b15", "b15"}, // buckets themselves
	} {
		s := compile(t, rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Bucket, Buckets: tc.buckets}}})
		if got := s.Judge(nil, "m", lbls("a", tc.value)).Labels[0].Value; got != tc.want {
			t.Errorf("%q of %d: %q, want %q", tc.value, tc.buckets, got, tc.want)
		}
	}
}

func TestBucketsAreAllThereIs(t *testing.T) {
	s := compile(t, rules.Config{Rules: []rules.Rule{{ID: "r", Labels: []string{"a"}, Action: rules.Bucket, Buckets: 10}}})
	seen := map[string]bool{}
	values := []string{"b", "b10", "b00", "b-1", "b+1", "b 1", "c1", "B1", "b1x", "\xff"}
	for i := range 200 {
		values = append(values, fmt.Sprint(i))
	}
	for _, value := range values {
		seen[s.Judge(nil, "m", lbls("a", value)).Labels[0].Value] = true
	}
	if len(seen) != 10 || !seen["b0"] || !seen["b9"] {
		t.Errorf("%v", seen)
	}
}

func TestGaugesAreTheFirstRulesWord(t *testing.T) {
	s := compile(t, rules.Config{Rules: []rules.Rule{
		{ID: "silent", Labels: []string{"a"}, Action: rules.Drop},
		{ID: "max", Labels: []string{"b"}, Action: rules.Replace, Replacement: "x", Gauges: rules.Max},
		{ID: "sum", Labels: []string{"c"}, Action: rules.Drop, Gauges: rules.Sum},
		{ID: "no", Labels: []string{"d"}, Action: rules.Reject},
	}})
	for _, tc := range []struct {
		in   []labels.Label
		want rules.Gauges
	}{
		{lbls("x", "1"), ""},
		{lbls("a", "1"), ""},
		{lbls("a", "1", "c", "1"), rules.Sum},
		{lbls("b", "1", "c", "1"), rules.Max},
		{lbls("c", "1", "b", "1"), rules.Max}, // the policy's order, not the labels'
		{lbls("c", "1", "b", "x"), rules.Sum}, // b did not change
		{lbls("c", "1", "d", "1"), ""},
	} {
		if got := s.Judge(nil, "m", tc.in).Gauges; got != tc.want {
			t.Errorf("%v: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestEvent(t *testing.T) {
	t.Parallel()
	s := compile(t, rules.Config{Rules: []rules.Rule{
		{ID: "runs", Labels: []string{"run_id", "try"}, Action: rules.Event},
		{ID: "ids", Labels: []string{"id"}, Action: rules.Drop},
	}})
	for name, tc := range map[string]struct {
		in, left, events []string
	}{
		"a label leaves":       {[]string{"a", "1", "run_id", "r"}, []string{"a", "1"}, []string{"runs"}},
		"two by one rule":      {[]string{"run_id", "r", "try", "2"}, nil, []string{"runs"}},
		"a label is dropped":   {[]string{"a", "1", "id", "x"}, []string{"a", "1"}, nil},
		"one leaves, one goes": {[]string{"id", "x", "try", "2"}, nil, []string{"runs"}},
		"neither":              {[]string{"a", "1"}, []string{"a", "1"}, nil},
	} {
		var in []labels.Label
		for i := 0; i < len(tc.in); i += 2 {
			in = append(in, labels.Label{Name: tc.in[i], Value: tc.in[i+1]})
		}
		said := s.Judge(nil, "m", in)
		var left []string
		for _, l := range said.Labels {
			left = append(left, l.Name, l.Value)
		}
		if !slices.Equal(left, tc.left) || !slices.Equal(said.Events, tc.events) {
			t.Errorf("%s: left are %q, events of %q", name, left, said.Events)
		}
	}
	if !s.FoldsKeys() {
		t.Error("it does not fold keys")
	}
}
