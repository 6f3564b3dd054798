package ledger

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/pushguard/pushguard/proxy/wire"
)

// While a group is held no claim to it is admitted and no listing forgets it; the book is
// as it was afterwards.
func TestHold(t *testing.T) {
	b := NewBook(Config{})
	key := wire.NewKey(labels.Label{Name: "job", Value: "a"})
	put := Claim{Group: key, Raw: key, Method: http.MethodPut, Families: []string{"x"}, Metrics: []MetricClaim{{Fingerprint: 1, Samples: 1}}}
	admitted(t, b, put).Settle(Applied)
	before := b.Series()
	release, err := b.Hold(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Admit(t.Context(), put); !errors.Is(err, ErrBusy) {
		t.Errorf("a push of a group that is held: %v", err)
	}
	if _, err := b.Hold(t.Context(), key); !errors.Is(err, ErrBusy) {
		t.Errorf("it is held twice: %v", err)
	}
	if err := b.loadAll(func() ([]Group, error) { return nil, nil }); err != nil || !b.Has(key) {
		t.Errorf("a listing has forgotten it: %v", err)
	}
	release()
	release() // does nothing
	if n := b.Series(); n != before {
		t.Errorf("%d series, and %d before", n, before)
	}
	admitted(t, b, put).Settle(Applied)
}

// A group that does not exist can be held, and is not there afterwards.
func TestHoldNothing(t *testing.T) {
	b := NewBook(Config{})
	key := wire.NewKey(labels.Label{Name: "job", Value: "a"})
	release, err := b.Hold(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	release()
	if len(b.groups) != 0 || b.Len() != 0 {
		t.Errorf("%d entries are left", len(b.groups))
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := b.Hold(ended, key); !errors.Is(err, context.Canceled) || len(b.groups) != 0 {
		t.Errorf("%v, %d entries are left", err, len(b.groups))
	}
}

func admitted(t *testing.T, b *Book, c Claim) *Grant {
	t.Helper()
	g, err := b.Admit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}
