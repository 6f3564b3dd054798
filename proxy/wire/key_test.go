package wire

import (
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"pgregory.net/rapid"
)

// key makes a key of name, value, name, value …
func key(pairs ...string) Key {
	var ls []labels.Label
	for i := 0; i < len(pairs); i += 2 {
		ls = append(ls, labels.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return NewKey(ls...)
}

func TestNewKey(t *testing.T) {
	k := key("job", "a", "zone", "eu", "dag", "x", "zone", "us")
	want := []labels.Label{{Name: "dag", Value: "x"}, {Name: "job", Value: "a"}, {Name: "zone", Value: "us"}}
	if diff := cmp.Diff(want, k.Labels()); diff != "" {
		t.Errorf("labels, sorted and the last of a name standing (-want +got):\n%s", diff)
	}
	if k.Job() != "a" {
		t.Errorf("Job() = %q", k.Job())
	}
	if _, ok := k.Get("instance"); ok {
		t.Error("Get finds a label that the key does not have")
	}
	if v, ok := key("job", "a", "instance", "").Get("instance"); !ok || v != "" {
		t.Errorf("Get of an empty label = %q, %v; want it found", v, ok)
	}
	if got := k.String(); got != `{dag="x", job="a", zone="us"}` {
		t.Errorf("String() = %s", got)
	}
	if (Key{}).Job() != "" {
		t.Error("the zero key has a job")
	}
}

func TestNewKeyKeepsItsArguments(t *testing.T) {
	ls := []labels.Label{{Name: "job", Value: "a"}, {Name: "b", Value: "1"}, {Name: "b", Value: "2"}}
	NewKey(ls...)
	if ls[0].Name != "job" || ls[1].Value != "1" {
		t.Errorf("arguments changed: %v", ls)
	}
}

func TestKeyEqual(t *testing.T) {
	a := key("job", "a", "x", "1", "y", "2")
	for name, other := range map[string]struct {
		key  Key
		same bool
	}{
		"another order":             {key("y", "2", "x", "1", "job", "a"), true},
		"another value":             {key("job", "a", "x", "1", "y", "3"), false},
		"a label less":              {key("job", "a", "x", "1"), false},
		"a boundary moved":          {key("job", "a", "x", "1y", "", "2"), false},
		"an empty label is a label": {key("job", "a", "x", "1", "y", "2", "z", ""), false},
	} {
		if a.Equal(other.key) != other.same || (a.ID() == other.key.ID()) != other.same {
			t.Errorf("%s: %s and %s: equal %v, want %v", name, a, other.key, a.Equal(other.key), other.same)
		}
	}
}

func TestKeyCanonical(t *testing.T) {
	if got := key("job", "a", "instance", "", "b", "x", "c", "").Canonical(); !got.Equal(key("job", "a", "b", "x")) {
		t.Errorf("canonical key is %s", got)
	}
	full := key("job", "a", "instance", "i")
	if !full.Canonical().Equal(full) {
		t.Errorf("a key without empty labels changed to %s", full.Canonical())
	}
}

func TestKeyPath(t *testing.T) {
	for _, c := range []struct {
		key  Key
		want string
	}{
		{key("job", "nightly"), "/metrics/job/nightly"},
		{key("job", "nightly", "b", "2", "a", "1"), "/metrics/job/nightly/a/1/b/2"},
		{key("job", "a/b", "path", "/var"), "/metrics/job@base64/YS9i/path@base64/L3Zhcg"},
		{key("job", "a", "instance", ""), "/metrics/job/a/instance@base64/="},
		{key("job", "..", "dot", ".", "dots", "..."), "/metrics/job@base64/Li4/dot@base64/Lg/dots/..."},
		{key("job", "50 %", "q", "a+b?#;"), "/metrics/job/50%20%25/q/a+b%3F%23%3B"},
		{key("job", "käse", "nul", "\x00\n"), "/metrics/job/k%C3%A4se/nul/%00%0A"},
		{key("job", "a", "U__x_2e_y", "1"), "/metrics/job/a/U__x_2e_y/1"},
		{key("job", "a", "k8s.pod", "1"), "/metrics/job/a/U__k8s_2e_pod/1"},
		{key("job", "a", "a/b", "1"), "/metrics/job/a/U__a_2f_b/1"},
		{key("job", "a", "x@base64", "1"), "/metrics/job/a/U__x_40_base64/1"},
		{key("job", "a", "..", "1"), "/metrics/job/a/U___2e__2e_/1"},
		{key("job", "a", "U__.", "1"), "/metrics/job/a/U__U_____2e_/1"},
	} {
		if got := c.key.Path(); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.key, got, c.want)
		}
	}
}

// hardValues are values that a path cannot carry as they are, or only just.
var hardValues = []string{
	"", ".", "..", "...", "/", "//", "a/b", "/a", "a/", "=", "%", "%2F", "%2e%2e", "+", " ", ";", "?", "#",
	"\x00", "\n", "\r\n", `"`, `\`, "@base64", "ü", "\u2028", "\U0010ffff", "\ufeff", "job", "U__", "__x",
}

func anyValue() *rapid.Generator[string] {
	return rapid.OneOf(rapid.String(), rapid.SampledFrom(hardValues),
		rapid.StringOf(rapid.SampledFrom([]rune("./%+=@\x00\nü"))))
}

// anyKey draws keys that a group can have; utf8Names as for ParsePath.
func anyKey(utf8Names bool) *rapid.Generator[Key] {
	return rapid.Custom(func(t *rapid.T) Key {
		names := rapid.StringMatching(`[a-zA-Z_][a-zA-Z0-9_]{0,8}`)
		if utf8Names {
			names = rapid.OneOf(names, anyValue())
		}
		job := rapid.OneOf(rapid.StringN(1, -1, -1), rapid.SampledFrom(hardValues[1:])).Draw(t, "job")
		ls := []labels.Label{}
		for range rapid.IntRange(0, 6).Draw(t, "labels") {
			name := names.Filter(func(s string) bool {
				// Reserved names, names that no page can have, and escaped names that look
				// unescaped, belong to no group of ours.
				unescaped := model.UnescapeName(s, model.ValueEncodingEscaping)
				legacy := model.LegacyValidation.IsValidLabelName(s)
				return s != "" && !strings.ContainsAny(s, ":\x00") && !strings.HasPrefix(s, "__") && !strings.HasPrefix(unescaped, "__") &&
					(!utf8Names || !legacy || unescaped == s)
			}).Draw(t, "name")
			ls = append(ls, labels.Label{Name: name, Value: anyValue().Draw(t, "value")})
		}
		return NewKey(append(ls, labels.Label{Name: "job", Value: job})...)
	})
}

func TestPathReadsBackAsItsKey(t *testing.T) {
	for _, utf8Names := range []bool{false, true} {
		rapid.Check(t, func(t *rapid.T) {
			want := anyKey(utf8Names).Draw(t, "key")
			p := want.Path()
			got, err := ParsePath(p, utf8Names)
			if err != nil || !got.Equal(want) {
				t.Fatalf("%s\nparses as %s, %v\nwant      %s", p, got, err, want)
			}
			u, err := url.ParseRequestURI(p)
			if err != nil {
				t.Fatalf("%s is no request target: %v", p, err)
			}
			if u.EscapedPath() != p {
				t.Fatalf("%s changes to %s on the way", p, u.EscapedPath())
			}
			// Gateways built before Go 1.22 clean the decoded path.
			if path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") {
				t.Fatalf("%s is redirected to %s", u.Path, path.Clean(u.Path))
			}
		})
	}
}
