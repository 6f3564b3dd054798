package rules

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// mustPermit fails if the pattern of s matches value and its bounds would have
// kept the pattern from being tried.
func mustPermit(t interface{ Errorf(string, ...any) }, s *shape, value string) {
	if value == "" || len(value) > maxShapeLook || s.max > 0 && len(value) > s.max || !s.re.MatchString(value) {
		return
	}
	if traits := traitsOf(value); !s.bounds.permit(value, &traits) {
		t.Errorf("%s matches %q, outside its bounds %+v", s.name, value, s.bounds)
	}
}

func TestBoundsPermitWhatThePatternMatches(t *testing.T) {
	for i := range catalogue {
		s := &catalogue[i]
		if s.re == nil {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			values := rapid.StringMatching(s.pattern)
			rapid.Check(t, func(t *rapid.T) {
				mustPermit(t, s, values.Draw(t, "value"))
			})
		})
	}
}

func FuzzBounds(f *testing.F) {
	for _, s := range []string{"\xff@\xff.ab", "\u017felect\nſet", "\u212aey:123", "://", "a://\xff", "user#123", "pr1/\xff", "\x80x0x123456"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for i := range catalogue {
			if s := &catalogue[i]; s.re != nil {
				mustPermit(t, s, value)
			}
		}
	})
}

// TestBoundsAreOfUse holds the bounds against values that must not reach a
// regexp, or reading a word would cost microseconds.
func TestBoundsAreOfUse(t *testing.T) {
	for _, value := range []string{"load_users", "us-east-1", "1.2.3", "success", "x86_64", "worker-12", "PythonOperator", "0.99"} {
		traits := traitsOf(value)
		for i := range catalogue {
			s := &catalogue[i]
			if s.re != nil && s.bounds.permit(value, &traits) && (s.when == nil || s.when(value)) {
				t.Errorf("%q reaches the pattern of %s", value, s.name)
			}
		}
	}
}

func TestNormalFormsNameGroupsOfThePattern(t *testing.T) {
	group := regexp.MustCompile(`\$(\d)`)
	for i := range catalogue {
		s := &catalogue[i]
		for _, m := range group.FindAllStringSubmatch(s.normal, -1) {
			if n := int(m[1][0] - '0'); n < 1 || n > s.re.NumSubexp() {
				t.Errorf("%s: %s names no group of %s", s.name, m[0], s.pattern)
			}
		}
	}
}
