package fleet

import (
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// atlas finds groups by the labels of their series.
type atlas[T any] struct {
	sets   map[string][][]string // of a job: the names of the labels of its groups, the most first
	groups map[string]T          // by their canonical keys
}

func newAtlas[T any]() *atlas[T] {
	return &atlas[T]{sets: map[string][][]string{}, groups: map[string]T{}}
}

func (a *atlas[T]) add(key wire.Key, value T) {
	canonical := key.Canonical()
	a.groups[canonical.ID()] = value
	var names []string
	for _, l := range canonical.Labels() {
		names = append(names, l.Name)
	}
	sets := a.sets[canonical.Job()]
	if slices.ContainsFunc(sets, func(set []string) bool { return slices.Equal(set, names) }) {
		return
	}
	sets = append(sets, names)
	slices.SortStableFunc(sets, func(x, y []string) int { return len(y) - len(x) })
	a.sets[canonical.Job()] = sets
}

// find calls is for the groups that a series with these labels may be of, that with the
// most labels first, until it returns true.
func (a *atlas[T]) find(ls []labels.Label, is func(T) bool) {
	for _, names := range a.sets[jobOf(ls)] {
		of := make([]labels.Label, 0, len(names))
		for _, l := range ls {
			if l.Value != "" && slices.Contains(names, l.Name) {
				of = append(of, l)
			}
		}
		if len(of) != len(names) {
			continue
		}
		if v, ok := a.groups[wire.NewKey(of...).ID()]; ok && is(v) {
			return
		}
	}
}

func jobOf(ls []labels.Label) string {
	for _, l := range ls {
		if l.Name == model.JobLabel {
			return l.Value
		}
	}
	return ""
}

// identity is the same for label sets that are one to Prometheus.
func identity(ls []labels.Label) string {
	words := make([]string, 0, 2*len(ls))
	for _, l := range ls {
		if l.Value != "" {
			words = append(words, l.Name+"\xff"+l.Value)
		}
	}
	slices.Sort(words)
	return strings.Join(words, "\xff")
}
