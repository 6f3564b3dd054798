package fleet

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/pushguard/pushguard/proxy/gateway"
)

// TestListingWithoutOne lists two of which one does not answer: the listing says nothing
// of what that one may hold, and what is known of it stays.
func TestListingWithoutOne(t *testing.T) {
	dead := at(t, &url.URL{Scheme: "http", Host: "127.0.0.1:1"})
	f := New(Config{Staying: append(real(t, 1), dead)})
	pushed, moving := 0, -1
	for i := range 20 {
		switch {
		case f.Place(job(i)) != 0:
		case moving < 0:
			moving = i // to the other one, where it was before
			f.set(standing{key: job(i), holder: 1})
		default:
			push(t, f, http.MethodPut, i, "x 1\n")
			pushed++
		}
	}
	for range 2 {
		groups, err := f.Groups(t.Context(), 1)
		var partial *gateway.Partial
		if !errors.As(err, &partial) || len(groups) != pushed {
			t.Fatalf("%d groups and %v, want %d and that it is a part", len(groups), err, pushed)
		}
		for i := range 20 {
			if got, want := partial.Unknown(job(i)), i == moving || f.Place(job(i)) == 1; got != want {
				t.Errorf("that job %d is not known is %v", i, got)
			}
		}
		if s, ok := f.standing(job(moving).ID()); !ok || s.holder != 1 {
			t.Errorf("where the group is that the dead one has: %v, %v", s, ok)
		}
	}
	for name, cfg := range map[string]Config{
		"one that leaves": {Staying: f.all[:1], Leaving: f.all[1:]},
		"all":             {Staying: f.all[1:]},
	} {
		if _, err := New(cfg).Groups(t.Context(), 1); err == nil || errors.As(err, new(*gateway.Partial)) {
			t.Errorf("%s: %v, want that it is no listing", name, err)
		}
	}
}
