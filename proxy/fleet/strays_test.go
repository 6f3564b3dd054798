package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

func list(t *testing.T, f *Fleet) int {
	t.Helper()
	groups, err := f.Groups(context.Background(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return len(groups)
}

// What one that leaves holds is counted as stray until it has moved or is deleted.
func TestStrays(t *testing.T) {
	const groups = 6
	both := real(t, 2)
	before := New(both[1:], nil, slog.New(slog.DiscardHandler))
	for i := range groups {
		push(t, before, http.MethodPut, i, "x 1\n")
	}
	f := New(both[:1], both[1:], slog.New(slog.DiscardHandler))
	if n := list(t, f); n != groups {
		t.Fatalf("%d groups are listed, want %d", n, groups)
	}
	strays(t, f, 0, groups)
	push(t, f, http.MethodPost, 0, "x 2\n") // goes where it is
	strays(t, f, 0, groups)
	push(t, f, http.MethodPut, 1, "x 2\n")
	push(t, f, http.MethodDelete, 2, "")
	strays(t, f, 0, groups-2)
	for deadline := time.Now().Add(time.Minute); list(t, f) != groups-1; time.Sleep(10 * time.Millisecond) { // deletes are queued
		if time.Now().After(deadline) {
			t.Fatalf("%d groups are listed, want %d", list(t, f), groups-1)
		}
	}
	strays(t, f, 0, groups-2)
}

func strays(t *testing.T, f *Fleet, want ...int) {
	t.Helper()
	const name = "pushguard_upstream_stray_groups"
	page := "# HELP " + name + " Groups that the Pushgateway behind holds though they belong to another, as far as the last listing knows; of several.\n# TYPE " + name + " gauge\n"
	for i, n := range want {
		page += fmt.Sprintf("%s{upstream=%q} %d\n", name, f.all[i].Name(), n)
	}
	if err := testutil.CollectAndCompare(f, strings.NewReader(page), name); err != nil {
		t.Error(err)
	}
}
