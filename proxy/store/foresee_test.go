package store

import (
	"fmt"
	"net/http"
	"testing"

	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/wire"
)

// TestForesee: what is foreseen is what is answered then, and changes nothing.
func TestForesee(t *testing.T) {
	keys := []wire.Key{key("job", "j"), key("job", "j", "a", "1"), key("job", "j", "a", "1", "b", "2"), key("job", "k")}
	refused := 0
	rapid.Check(t, func(rt *rapid.T) {
		s, err := Open(Config{})
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(rt, "requests") {
			method := rapid.SampledFrom([]string{http.MethodPut, http.MethodPost, http.MethodPost, http.MethodDelete}).Draw(rt, "method")
			k := rapid.SampledFrom(keys).Draw(rt, "key")
			body := ""
			for range rapid.IntRange(0, 3).Draw(rt, "families") {
				name := rapid.SampledFrom([]string{"x", "y", "x_count", "z"}).Draw(rt, "name")
				switch rapid.IntRange(0, 3).Draw(rt, "type") {
				case 0:
					body += fmt.Sprintf("# TYPE %s summary\n%[1]s_sum 1\n%[1]s_count 1\n", name)
				case 1:
					body += fmt.Sprintf("# TYPE %s counter\n%[1]s 1\n", name)
				case 2:
					body += fmt.Sprintf("# TYPE %s gauge\n%[1]s{a=\"1\",b=\"2\"} 1\n", name)
				default:
					body += fmt.Sprintf("# TYPE %s gauge\n%[1]s 1\n", name)
				}
			}
			r, err := request(method, k, body)
			if err != nil {
				continue // the guard refuses it before
			}
			before := fmt.Sprint(page(t, s), s.index.jobs, len(s.index.families))
			foreseen, err := s.Foresee(r)
			if err != nil {
				t.Fatal(err)
			}
			if after := fmt.Sprint(page(t, s), s.index.jobs, len(s.index.families)); after != before {
				rt.Fatalf("%s %s %q is foreseen, and the page is\n%s\nbefore\n%s", method, k, body, after, before)
			}
			a, err := s.Do(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if a.Status != foreseen.Status || string(a.Body) != string(foreseen.Body) {
				rt.Fatalf("%s %s %q: %d %s, foreseen %d %s", method, k, body, a.Status, a.Body, foreseen.Status, foreseen.Body)
			}
			if a.Status == http.StatusBadRequest {
				refused++
			}
		}
	})
	want := 20
	if testing.Short() { // then rapid checks a fifth
		want /= 5
	}
	if refused < want {
		t.Errorf("only %d pushes were refused, want %d", refused, want)
	}
}
