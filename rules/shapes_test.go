package rules_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pushguard/pushguard/rules"
)

type shapeExamples struct {
	Examples []struct{ Shape, Value, Normal string }
	Bounded  []string
}

func readShapeExamples(t testing.TB) shapeExamples {
	t.Helper()
	b, err := os.ReadFile("testdata/shapes.json")
	if err != nil {
		t.Fatal(err)
	}
	var ex shapeExamples
	if err := json.Unmarshal(b, &ex); err != nil {
		t.Fatal(err)
	}
	return ex
}

// labelFor returns a label that may hold the shape.
func labelFor(shape string) string {
	if shape == "airflow_pod" {
		return "pod"
	}
	return "x"
}

func TestShapeOfEveryExample(t *testing.T) {
	// Two shapes that look alike, and the one listed first is as right.
	alias := map[string]string{"Order-99887": "k8s_job_pod"}
	seen := map[string]bool{}
	for _, ex := range readShapeExamples(t).Examples {
		want := ex.Shape
		if a, ok := alias[ex.Value]; ok {
			want = a
		}
		name, normal, ok := rules.Shape(labelFor(ex.Shape), ex.Value)
		if !ok || name != want || normal != ex.Normal {
			t.Errorf("%q: got %q %q, want %q %q", ex.Value, name, normal, want, ex.Normal)
		}
		seen[name] = true
	}
	for _, name := range rules.ShapeNames() {
		if !seen[name] {
			t.Errorf("no example of %s", name)
		}
	}
}

func TestBoundedValuesHaveNoShape(t *testing.T) {
	// Where a good name looks exactly like a random one.
	exceptions := map[string]string{
		"proxy-h2c4z": "k8s_job_pod", // five letters of the alphabet of Kubernetes' suffixes, with a digit
	}
	for _, value := range readShapeExamples(t).Bounded {
		name, _, _ := rules.Shape("x", value)
		if name != exceptions[value] {
			t.Errorf("%q: %q, want %q", value, name, exceptions[value])
		}
	}
}

func TestShapeByLabel(t *testing.T) {
	for _, tc := range []struct{ label, value, want string }{
		{"pod", "daily-etl-load-users-3k9x2b7q", "airflow_pod"},
		{"exported_instance", "daily-etl-load-users-3k9x2b7q", "airflow_pod"},
		{"kubernetes_pod_name", "daily-etl-load-users-3k9x2b7q", "airflow_pod"},
		{"HOSTNAME", "daily-etl-load-users-3k9x2b7q", "airflow_pod"},
		{"task_id", "daily-etl-load-users-3k9x2b7q", ""},
		{"instance_type", "n2-highcpu8", ""},
		{"podcast", "etl-version2", ""},
		{"pod", "etl-version2", "airflow_pod"},
		{"client", "10.1.2.3", "ipv4"},
		{"version", "10.1.2.3", ""},
		{"appVersion", "2024.02.02", ""},
		{"release", "2024.02.02", "date"},
		{"ratio", "0.0001", "float_value"},
		{"le", "0.0001", ""},
		{"quantile", "0.99999", ""},
		{"le", "1000000", ""},
	} {
		if name, _, _ := rules.Shape(tc.label, tc.value); name != tc.want {
			t.Errorf("%s=%q: %q, want %q", tc.label, tc.value, name, tc.want)
		}
	}
}

func TestShapeOfLongValues(t *testing.T) {
	long := strings.Repeat("é", 1<<20)
	for _, tc := range []struct{ name, value, want string }{
		{"a long name is free text", long, "free_text"},
		{"a long url keeps its host", "https://example.com/" + long, "url"},
		{"a long error keeps its class", "ValueError: " + long, "error_class"},
		{"a long statement keeps its verb", "select x from t where " + long, "sql"},
		{"a suffix after a long name is free text", long + "-x2k9z", "free_text"},
		{"a long number", strings.Repeat("7", 1<<20), "big_int"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			name, normal, _ := rules.Shape("x", tc.value)
			if name != tc.want || len(normal) > 100 {
				t.Errorf("%q %.50q, want %q", name, normal, tc.want)
			}
		})
	}
}

func TestShapeNames(t *testing.T) {
	names := rules.ShapeNames()
	if len(names) != 52 || names[0] != "airflow_run_id" || names[51] != "free_text" {
		t.Errorf("%d shapes: %q", len(names), names)
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != 52 {
		t.Error("a name twice")
	}
}

func FuzzShape(f *testing.F) {
	ex := readShapeExamples(f)
	for _, e := range ex.Examples {
		f.Add(labelFor(e.Shape), e.Value)
	}
	for _, v := range ex.Bounded {
		f.Add("version", v)
	}
	f.Add("x", "\xff-x2k9z")
	f.Fuzz(func(t *testing.T, label, value string) {
		name, normal, ok := rules.Shape(label, value)
		if ok != (name != "") || ok != (normal != "") {
			t.Fatalf("%q: %q %q %v", value, name, normal, ok)
		}
		if !ok {
			return
		}
		if utf8.ValidString(value) && !utf8.ValidString(normal) {
			t.Errorf("%q: %s gives %q", value, name, normal)
		}
		if strings.HasPrefix(normal, "<") && strings.HasSuffix(normal, ">") && !strings.Contains(value, "<") {
			if again, _, ok := rules.Shape(label, normal); ok {
				t.Errorf("the normal form %q has the shape %q", normal, again)
			}
		}
	})
}

func BenchmarkShapes(b *testing.B) {
	for _, bm := range []struct{ name, value string }{
		{"word", "load_users"},
		{"region", "us-east-1"},
		{"slug", "nightly-load-users-orders-2"},
		{"class", "org.apache.spark.SparkException"},
		{"path", "/api/v1/users"},
		{"uuid", "3f2b8c1e-9d4a-4c55-8a11-0f9e8d7c6b5a"},
		{"run_id", "manual__2026-01-01T00:00:00+00:00"},
		{"deploy_pod", "etl-7d9f8b6c5-x2k9z"},
		{"text", "connection to db refused after 3 attempts by peer"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				rules.Shape("x", bm.value)
			}
		})
	}
}
