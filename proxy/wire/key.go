package wire

import (
	"cmp"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// Key is a grouping key: the label job and the labels of the path, sorted by
// name, each name once. The zero value is no key: it has no job. A Key is
// immutable and safe for concurrent use.
type Key struct {
	labels []labels.Label
	id     string
}

// NewKey returns the key of the given labels, job among them. Of a name given
// more than once the last value stands, as in a Pushgateway.
func NewKey(ls ...labels.Label) Key {
	return keyOf(slices.Clone(ls))
}

// keyOf is NewKey of labels that are the key's from then on.
func keyOf(ls []labels.Label) Key {
	slices.SortStableFunc(ls, func(a, b labels.Label) int { return cmp.Compare(a.Name, b.Name) })
	out := ls[:0]
	for _, l := range ls {
		if n := len(out); n > 0 && out[n-1].Name == l.Name {
			out[n-1] = l
			continue
		}
		out = append(out, l)
	}
	return Key{labels: out, id: identity(out)}
}

// identity separates names and values by a byte that no valid UTF-8 holds, so
// that two keys share an identity only if they are equal.
func identity(ls []labels.Label) string {
	size := 0
	for _, l := range ls {
		size += len(l.Name) + len(l.Value) + 2
	}
	var b strings.Builder
	b.Grow(size)
	for _, l := range ls {
		b.WriteString(l.Name)
		b.WriteByte('\xff')
		b.WriteString(l.Value)
		b.WriteByte('\xff')
	}
	return b.String()
}

// With returns the key with one label set to another value, or added.
func (k Key) With(l labels.Label) Key {
	return NewKey(append(slices.Clone(k.labels), l)...)
}

// ID is a string that two keys share exactly if they are equal; a map's key,
// not for people.
func (k Key) ID() string { return k.id }

// KeyOf returns the key of which id is the ID, provided that its names and values
// are valid UTF-8. It shares the memory of id.
func KeyOf(id string) Key {
	var ls []labels.Label
	for id := id; id != ""; {
		var l labels.Label
		l.Name, id, _ = strings.Cut(id, "\xff")
		l.Value, id, _ = strings.Cut(id, "\xff")
		ls = append(ls, l)
	}
	return Key{labels: ls, id: id}
}

// Job returns the value of the label job, empty for the zero Key.
func (k Key) Job() string {
	v, _ := k.Get("job")
	return v
}

// Get returns the value of a label and whether the key has it.
func (k Key) Get(name string) (string, bool) {
	for _, l := range k.labels {
		if l.Name == name {
			return l.Value, true
		}
	}
	return "", false
}

// Labels returns every label, job among them, sorted by name. The caller must
// not change the slice.
func (k Key) Labels() []labels.Label { return k.labels }

// Equal reports whether both keys hold the same labels.
func (k Key) Equal(other Key) bool { return k.id == other.id }

// Canonical returns the key without the labels whose value is empty. Prometheus
// takes an empty label for no label at all, and a Pushgateway adds an empty
// instance to every series of a group that has none: two groups with one
// canonical key expose the same push_time_seconds, and break every scrape.
func (k Key) Canonical() Key {
	if !slices.ContainsFunc(k.labels, func(l labels.Label) bool { return l.Value == "" }) {
		return k
	}
	return NewKey(slices.DeleteFunc(slices.Clone(k.labels), func(l labels.Label) bool { return l.Value == "" })...)
}

// String renders the key as people write label sets, for messages.
func (k Key) String() string {
	return labels.New(k.labels...).String()
}

// Path renders the key as the escaped path of its group below the route prefix,
// job first. Every Pushgateway, whatever its Go version's path cleaning does,
// reads it back as this very key: a value that is empty, a dot segment or holds
// a slash travels as base64, as does a job of that kind. A label name outside
// the legacy charset is escaped for a Pushgateway with --push.enable-utf8-names,
// the only one that can have such a group.
func (k Key) Path() string {
	var b strings.Builder
	b.WriteString("/metrics")
	writeComponent(&b, "job", k.Job())
	for _, l := range k.labels {
		if l.Name != "job" {
			writeComponent(&b, l.Name, l.Value)
		}
	}
	return b.String()
}

func writeComponent(b *strings.Builder, name, value string) {
	b.WriteByte('/')
	b.WriteString(url.PathEscape(escapeName(name)))
	if value == "" || value == "." || value == ".." || strings.Contains(value, "/") {
		b.WriteString(base64Suffix + "/" + base64Value(value))
		return
	}
	b.WriteByte('/')
	b.WriteString(url.PathEscape(value))
}

// base64Value writes a value for a label or job marked @base64. The empty one is
// all padding, so that its segment of the path is not empty.
func base64Value(value string) string {
	if value == "" {
		return "="
	}
	return base64.RawURLEncoding.EncodeToString([]byte(value))
}

// escapeName writes a label name for a path. Names outside the legacy charset
// come from and go to Pushgateways that unescape names; what would be taken for
// a separator, a dot segment, a mark or an escape is escaped, the rest is not,
// as UnescapeName knows no escape for the highest code points.
func escapeName(name string) string {
	if model.LegacyValidation.IsValidLabelName(name) {
		return name
	}
	return "U__" + nameEscaper.Replace(name)
}

var nameEscaper = strings.NewReplacer("_", "__", "/", "_2f_", ".", "_2e_", "@", "_40_")

// escapable reports whether a Pushgateway that unescapes names reads this one
// back from a path. A name of the legacy charset is written as it is, since
// other Pushgateways take it literally: it must not look like an escaped one.
func escapable(name string) bool {
	return model.UnescapeName(escapeName(name), model.ValueEncodingEscaping) == name
}
