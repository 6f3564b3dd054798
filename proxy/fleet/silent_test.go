package fleet

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

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

// TestListingBesideSilence has one of two hang: the other is listed all the same, and its
// groups move, in the time that a push has.
func TestListingBesideSilence(t *testing.T) {
	hung, err := gateway.New(gateway.Config{URL: silent(t), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer hung.Close()
	well := real(t, 2)
	f := New(Config{Staying: []*gateway.Upstream{hung, well[0]}, Leaving: well[1:]})
	stray := 0
	for f.Place(job(stray)) != 1 {
		stray++
	}
	push(t, New(Config{Staying: well[1:]}), http.MethodPut, stray, "x 1\n")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	groups, err := f.Groups(ctx, 1)
	if !errors.As(err, new(*gateway.Partial)) || len(groups) != 1 {
		t.Fatalf("%d groups and %v, want one and that it is a part", len(groups), err)
	}
	w := httptest.NewRecorder()
	if f.Proxy().ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, "/api/v1/metrics", nil)); w.Code != http.StatusBadGateway || ctx.Err() != nil {
		t.Errorf("the listing for clients beside one that hangs: %d, %v", w.Code, ctx.Err())
	}
	f.set(standing{key: job(stray + 1000), holder: 0, old: []int{1}}) // another, that has hung meanwhile
	if _, _ = f.Move(ctx, holdAny); ctx.Err() != nil || len(content(t, well[0])) == 0 {
		t.Errorf("no group has moved beside one that hangs: %v", ctx.Err())
	}
	if _, err := f.OwnFamilies(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("own families beside one that hangs: %v, %v", err, ctx.Err())
	}
}
