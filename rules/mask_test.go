package rules_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/rules"
)

func testMask() rules.Mask { return rules.NewMask([32]byte{1, 2, 3}) }

func itself(s string) string { return s }

// shapesOf are all shapes that a value has, not only the first.
func shapesOf(t testing.TB, label, value string) []string {
	t.Helper()
	var out []string
	for _, name := range rules.ShapeNames() {
		set, err := rules.NewShapes([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		if set.Fold(label, value) != value {
			out = append(out, name)
		}
	}
	return out
}

// stays are the shapes of which the whole value may stay: times, and what has a name
// only.
func stays(shape string) bool {
	return slices.Contains([]string{"airflow_run_id", "iso_datetime", "compact_datetime", "date", "date_nodash", "hive_partition", "epoch", "trailing_time"}, shape)
}

// TestMaskKeepsShapes masks every example of a shape: its shapes are the same after,
// its normal form is, and it is another value.
func TestMaskKeepsShapes(t *testing.T) {
	m := testMask()
	for _, e := range readShapeExamples(t).Examples {
		label := labelFor(e.Shape)
		masked, ok := m.Value(label, e.Value, itself)
		_, normal, _ := rules.Shape(label, masked)
		if !ok || normal != e.Normal && !strings.Contains(e.Normal, "[::1]") { // an address is hidden wherever it stands
			t.Errorf("%s %q became %q, whose normal form is %q, want %q", e.Shape, e.Value, masked, normal, e.Normal)
		}
		if was, is := shapesOf(t, label, e.Value), shapesOf(t, label, masked); !slices.Equal(was, is) {
			t.Errorf("%q, a %q, became %q, a %q", e.Value, was, masked, is)
		}
		if masked == e.Value && !stays(e.Shape) && e.Value != "https://api.example.com" && e.Value != "delete from t" {
			t.Errorf("%s %q stays as it is", e.Shape, e.Value)
		}
	}
	for _, v := range readShapeExamples(t).Bounded {
		if masked := m.Whole("x", v); len(shapesOf(t, "x", v)) == 0 && (len(shapesOf(t, "x", masked)) > 0 || len(masked) != len(v)) {
			t.Errorf("%q became %q", v, masked)
		}
	}
}

func TestMaskOfAValue(t *testing.T) {
	m, other := testMask(), rules.NewMask([32]byte{9})
	const id = "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a"
	one, _ := m.Value("run_id", id, itself)
	again, _ := m.Value("run_id", id, itself)
	if two, _ := other.Value("run_id", id, itself); one != again || one == two {
		t.Errorf("%q, %q and by another secret %q", one, again, two)
	}
	for _, tc := range []struct{ value, keeps, hides string }{
		{"nightly_load_20260101", "nightly_load_20260101", ""},
		{"https://user:pass@example.com/a/secret", "https://example.com", "secret"},
		{"alice@example.com", "@", "alice"},
		{"user_1234567", "user_", "1234567"},
		{"ValueError: no row for alice", "ValueError", "alice"},
		{"Müller ist nicht zu erreichen, bitte später versuchen", " ", "Müller"},
		{"application_1690000000000_0001", "application_", "1690000000000"},
	} {
		masked, ok := m.Value("x", tc.value, itself)
		if !ok || tc.hides != "" && strings.Contains(masked, tc.hides) {
			t.Errorf("%q became %q", tc.value, masked)
		}
		if !utf8.ValidString(masked) || len(masked) != len(tc.value) {
			t.Errorf("%q became %q", tc.value, masked)
		}
		if !strings.Contains(masked, tc.keeps) && !strings.HasPrefix(tc.value, "http") {
			t.Errorf("%q became %q without %q", tc.value, masked, tc.keeps)
		}
	}
	masked, _ := m.Value("x", "alice-20260101", strings.ToUpper)
	if masked != "ALICE-20260101" {
		t.Errorf("the part that stays became %q", masked)
	}
}

// TestMaskIsOneToOne masks all values of a small kind: none becomes another's.
func TestMaskIsOneToOne(t *testing.T) {
	m, seen := testMask(), map[string]string{}
	for n := 100_000; n < 120_000; n += 7 {
		value := fmt.Sprint("user_", n)
		masked, ok := m.Value("x", value, itself)
		if before, twice := seen[masked]; !ok || twice && before != value {
			t.Fatalf("%q and %q became %q", before, value, masked)
		}
		seen[masked] = value
	}
}

// TestMaskHolds masks whatever there may be.
func TestMaskHolds(t *testing.T) {
	m := testMask()
	rapid.Check(t, func(r *rapid.T) {
		value := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z]{1,8}[-_/.:@ ][a-zA-Z0-9]{1,24}([-_.:/][a-z0-9]{1,12}){0,4}`)).Draw(r, "value")
		if value == "" || !utf8.ValidString(value) {
			return
		}
		masked, ok := m.Value("x", value, func(s string) string { return m.Whole("x", s) })
		if !utf8.ValidString(masked) {
			r.Fatalf("%q became %q", value, masked)
		}
		if was, is := shapesOf(t, "x", value), shapesOf(t, "x", masked); ok && !slices.Equal(was, is) {
			r.Fatalf("%q, a %q, became %q, a %q", value, was, masked, is)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	m := testMask()
	b.ReportAllocs()
	for b.Loop() {
		m.Value("run_id", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a", itself)
	}
}
