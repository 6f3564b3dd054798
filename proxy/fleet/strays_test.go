package fleet

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
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
	before := New(Config{Staying: both[1:]})
	for i := range groups {
		push(t, before, http.MethodPut, i, "x 1\n")
	}
	f := New(Config{Staying: both[:1], Leaving: both[1:]})
	if n := list(t, f); n != groups {
		t.Fatalf("%d groups are listed, want %d", n, groups)
	}
	strays(t, f, 0, groups)
	for method, want := range map[string]int{http.MethodPut: 0, http.MethodPost: 1, http.MethodDelete: 1} {
		if at := f.Target(job(0), method); at != want {
			t.Errorf("a %s goes to %d, want %d", method, at, want)
		}
	}
	push(t, f, http.MethodPost, 0, "x 2\n") // goes where it is
	strays(t, f, 0, groups)
	push(t, f, http.MethodPut, 1, "x 2\n")
	push(t, f, http.MethodDelete, 2, "")
	strays(t, f, 0, groups)      // the old copy of the one is left, and the other may be
	eventually(t, func() error { // deletes are queued
		if n := list(t, f); n != groups-1 {
			return fmt.Errorf("%d groups are listed, want %d", n, groups-1)
		}
		if n := f.astray()[1]; n != groups-1 {
			return fmt.Errorf("%d of the other's are astray, want %d", n, groups-1)
		}
		return nil
	})
	strays(t, f, 0, groups-1)
	move(t, f)
	strays(t, f, 0, 0)
	if n := list(t, f); n != groups-1 {
		t.Errorf("%d groups are listed, want %d", n, groups-1)
	}
}

// eventually fails the test unless check returns nil within a minute.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// emptied waits until an upstream has carried out the deletes that it answered.
func emptied(t *testing.T, u *gateway.Upstream) {
	t.Helper()
	eventually(t, func() error {
		if left := content(t, u); len(left) > 0 {
			return fmt.Errorf("left behind: %v", left)
		}
		return nil
	})
}

// move makes passes until nothing is left.
func move(t *testing.T, f *Fleet) {
	t.Helper()
	hold := func(context.Context, wire.Key) (func(), bool) { return func() {}, true }
	for left := 1; left > 0; {
		if t.Context().Err() != nil {
			t.Fatal("groups do not move")
		}
		_, left = f.Move(t.Context(), hold)
	}
}

func strays(t *testing.T, f *Fleet, want ...int) {
	t.Helper()
	const name = "pushguard_upstream_stray_groups"
	page := "# HELP " + name + " Groups that the Pushgateway behind holds though they belong to another, copies of those that have moved among them, as far as the guard knows; of several.\n# TYPE " + name + " gauge\n"
	for i, n := range want {
		page += fmt.Sprintf("%s{upstream=%q} %d\n", name, f.all[i].Name(), n)
	}
	if err := testutil.CollectAndCompare(f, strings.NewReader(page), name); err != nil {
		t.Error(err)
	}
}
