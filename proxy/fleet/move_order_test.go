package fleet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/wire"
)

// fronted is a real Pushgateway behind something that a test can put in the way of its
// requests.
type fronted struct {
	*gateway.Upstream
	behind *gateway.Upstream
	before atomic.Pointer[func(*http.Request)]      // a request is handed on
	after  atomic.Pointer[func(*http.Request) bool] // it is answered; false breaks off
}

func front(t *testing.T) *fronted {
	t.Helper()
	where := gatewaytest.Start(t)
	f := &fronted{behind: at(t, where)}
	proxy := httputil.NewSingleHostReverseProxy(where)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if do := f.before.Load(); do != nil {
			(*do)(r)
		}
		answer := httptest.NewRecorder()
		proxy.ServeHTTP(answer, r)
		if do := f.after.Load(); do != nil && !(*do)(r) {
			panic(http.ErrAbortHandler)
		}
		for name, values := range answer.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL)
	f.Upstream = at(t, u)
	return f
}

func holdAny(context.Context, wire.Key) (func(), bool) { return func() {}, true }

// TestPageFindsWhatMoves: a page that has read the new place of a group before that had it
// reads the old one before it is deleted there.
func TestPageFindsWhatMoves(t *testing.T) {
	old, home := front(t), front(t)
	send(t, old.behind, http.MethodPut, "/job/j1/run/1", "x 1\n", 200)
	f := New(Config{Staying: []*gateway.Upstream{home.Upstream}, Leaving: []*gateway.Upstream{old.Upstream}})
	list(t, f)
	reading, read, goOn := make(chan struct{}), make(chan struct{}), make(chan struct{})
	first := func(r *http.Request) {
		if r.URL.Path == "/metrics" {
			close(reading)
			<-goOn
		}
	}
	old.before.Store(&first)
	homeIsRead := func(r *http.Request) bool {
		if r.URL.Path == "/metrics" {
			close(read)
		}
		return true
	}
	home.after.Store(&homeIsRead)
	page := make(chan []string, 1)
	go func() { page <- pageOf(t, f) }()
	<-reading
	<-read
	old.before.Store(nil)
	home.after.Store(nil)
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		f.Move(context.Background(), holdAny)
	}()
	for len(content(t, home.behind)) == 0 {
		time.Sleep(time.Millisecond)
	}
	select {
	case <-moved: // as it must not
	case <-time.After(300 * time.Millisecond):
	}
	close(goOn)
	if lines := <-page; !slices.Contains(lines, "x{instance=\"\",job=\"j1\",run=\"1\"} 1\n") {
		t.Errorf("the group is not on the page:\n%s", strings.Join(lines, ""))
	}
	<-moved
	emptied(t, old.behind)
}

// TestMoveAfterWrite: a write that comes between a group's being read and its being taken
// is not lost, however often one comes.
func TestMoveAfterWrite(t *testing.T) {
	both := real(t, 2)
	send(t, both[1], http.MethodPut, "/job/j1/run/1", "x 1\ny 1\n", 200)
	f := New(Config{Staying: both[:1], Leaving: both[1:]})
	list(t, f)
	times := 0
	hold := func(context.Context, wire.Key) (func(), bool) {
		if times++; times < 3 {
			push(t, f, http.MethodPost, 1, "x 2\n")
		}
		return func() {}, true
	}
	for left := 1; left > 0; {
		_, left = f.Move(t.Context(), hold)
	}
	page := pageOf(t, New(Config{Staying: both[:1]}))
	for _, want := range []string{"x{instance=\"\",job=\"j1\",run=\"1\"} 2\n", "y{instance=\"\",job=\"j1\",run=\"1\"} 1\n"} {
		if !slices.Contains(page, want) {
			t.Errorf("no %s on the page:\n%s", want, strings.Join(page, ""))
		}
	}
}

// TestMoveWithoutAnswer: a copy of which nobody knows whether it came must not come after
// what is written meanwhile.
func TestMoveWithoutAnswer(t *testing.T) {
	home, old := front(t), real(t, 1)[0]
	send(t, old, http.MethodPut, "/job/j1/run/1", "x 1\n", 200)
	send(t, old, http.MethodPut, "/job/j2/run/2", "x 1\n", 200)
	f := New(Config{Staying: []*gateway.Upstream{home.Upstream}, Leaving: []*gateway.Upstream{old}})
	f.settles = 0
	list(t, f)
	silent := func(r *http.Request) bool { return r.Method != http.MethodPut }
	home.after.Store(&silent)
	if done, left := f.Move(t.Context(), holdAny); done != 0 || left != 2 {
		t.Errorf("%d moved, %d left, want none and 2", done, left)
	}
	home.after.Store(nil)
	var frozen int
	for _, n := range []int{1, 2} {
		_, err := f.Do(t.Context(), gateway.Request{Method: http.MethodPost, Key: job(n), Body: []byte("x 2\n")})
		if errors.Is(err, gateway.ErrUnreachable) {
			frozen++
		} else if err != nil {
			t.Error(err)
		}
	}
	if frozen != 1 { // after the first nothing was sent to that upstream
		t.Errorf("%d groups take no POST, want 1", frozen)
	}
	list(t, f) // what came of the copy changes nothing
	push(t, f, http.MethodPut, 1, "x 3\n")
	move(t, f)
	page := pageOf(t, f)
	for _, want := range []string{"x{instance=\"\",job=\"j1\",run=\"1\"} 3\n"} {
		if !slices.Contains(page, want) {
			t.Errorf("no %s on the page:\n%s", want, strings.Join(page, ""))
		}
	}
	emptied(t, old)
}

// TestDeleteBesideOldCopies: a group that is deleted does not come back from an old copy,
// also if that cannot be deleted at once.
func TestDeleteBesideOldCopies(t *testing.T) {
	home, old := real(t, 1)[0], front(t)
	send(t, old.behind, http.MethodPut, "/job/j1/run/1", "x 1\n", 200)
	f := New(Config{Staying: []*gateway.Upstream{home}, Leaving: []*gateway.Upstream{old.Upstream}, Rest: time.Hour})
	list(t, f)
	f.Move(t.Context(), holdAny)
	refuse := func(r *http.Request) bool { return r.Method != http.MethodDelete }
	swallow := func(r *http.Request) {
		if r.Method == http.MethodDelete {
			panic(http.ErrAbortHandler)
		}
	}
	old.before.Store(&swallow)
	old.after.Store(&refuse)
	push(t, f, http.MethodDelete, 1, "")
	if n := len(content(t, old.behind)); n != 1 {
		t.Fatalf("the old place has %d groups, want its copy", n)
	}
	for _, when := range []string{"at once", "after a listing"} {
		if page := pageOf(t, f); slices.ContainsFunc(page, func(line string) bool { return strings.HasPrefix(line, "x{") }) {
			t.Errorf("%s it is on the page again:\n%s", when, strings.Join(page, ""))
		}
		if n := list(t, f); n != 0 {
			t.Errorf("%s %d groups are listed", when, n)
		}
	}
	push(t, f, http.MethodPost, 1, "y 2\n") // begins anew, where it belongs
	old.before.Store(nil)
	old.after.Store(nil)
	move(t, f)
	emptied(t, old.behind)
	if now := content(t, home); len(now) != 1 || !strings.Contains(now[0], `"y"`) || strings.Contains(now[0], `"x"`) {
		t.Errorf("%v where it belongs", now)
	}
}

// TestDeleteWithoutAnswer: a group that was deleted, though nobody was told, is not what it
// was when it moved for a guard that starts afterwards.
func TestDeleteWithoutAnswer(t *testing.T) {
	home, old := front(t), real(t, 1)[0]
	send(t, old, http.MethodPut, "/job/j1/run/1", "x 1\n", 200)
	cfg := Config{Staying: []*gateway.Upstream{home.Upstream}, Leaving: []*gateway.Upstream{old}, Rest: time.Hour}
	f := New(cfg)
	list(t, f)
	f.Move(t.Context(), holdAny)
	push(t, f, http.MethodPut, 1, "x 2\n")
	push(t, f, http.MethodPost, 1, "x 3\n")
	refuse := func(r *http.Request) bool { return r.Method != http.MethodDelete }
	home.after.Store(&refuse)
	if _, err := f.Do(t.Context(), gateway.Request{Method: http.MethodDelete, Key: job(1)}); err == nil {
		t.Fatal("the DELETE has an answer")
	}
	home.after.Store(nil)
	emptied(t, home.behind)
	next := New(cfg)
	eventually(t, func() error {
		if n := list(t, next); n != 0 {
			return fmt.Errorf("there are %d groups:\n%s", n, strings.Join(pageOf(t, next), ""))
		}
		return nil
	})
}

// TestDeletedLater: what a Pushgateway has answered that it deletes, and has not yet, is on
// no page and in no listing.
func TestDeletedLater(t *testing.T) {
	both := real(t, 2)
	home, old := both[0], both[1]
	f := New(Config{Staying: both})
	var here, there []int // jobs by where they belong
	for i := 0; len(here) < 2 || len(there) < 1; i++ {
		if f.Place(job(i)) == 0 {
			here = append(here, i)
		} else {
			there = append(there, i)
		}
	}
	var big strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&big, "big{i=\"%d\"} 1\n", i)
	}
	send(t, old, http.MethodPut, job(there[0]).Path()[len("/metrics"):], big.String(), 200)
	for _, i := range here[:2] {
		send(t, old, http.MethodPut, job(i).Path()[len("/metrics"):], "x 1\ny 1\n", 200)
	}
	list(t, f)
	push(t, f, http.MethodPut, here[0], "x 2\n")
	var busy sync.WaitGroup
	first := make(chan struct{}, 60)
	for range cap(first) { // each has all that it holds looked at
		busy.Go(func() {
			_, _ = old.Do(context.Background(), gateway.Request{Method: http.MethodPost, Key: job(there[0]), Body: []byte("other 1\n")})
			first <- struct{}{}
		})
	}
	<-first
	push(t, f, http.MethodDelete, here[1], "")
	f.Move(t.Context(), holdAny)
	for _, when := range []string{"at once", "after a listing"} {
		page := strings.Join(slices.DeleteFunc(pageOf(t, f), func(line string) bool { return line[0] != 'x' && line[0] != 'y' }), "")
		if want := fmt.Sprintf("x{instance=\"\",job=\"j%d\",run=\"%[1]d\"} 2\n", here[0]); page != want {
			t.Errorf("%s the page has\n%swant\n%s", when, page, want)
		}
		if n := list(t, f); n != 2 {
			t.Errorf("%s %d groups are listed, want 2", when, n)
		}
	}
	busy.Wait()
	eventually(t, func() error {
		f.Move(t.Context(), holdAny)
		if here, there := len(content(t, home)), len(content(t, old)); here != 1 || there != 1 {
			return fmt.Errorf("%d and %d groups, want one each", here, there)
		}
		return nil
	})
}

// TestAnsweredInItsPlace: a group that is deleted after a copy or a push of it came where it
// belongs, of which something between said that it had failed, stays deleted.
func TestAnsweredInItsPlace(t *testing.T) {
	where, old := gatewaytest.Start(t), real(t, 1)[0]
	proxy := httputil.NewSingleHostReverseProxy(where)
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Request.Method == http.MethodPut {
			r.StatusCode = http.StatusBadGateway
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL)
	home := at(t, where)
	send(t, old, http.MethodPut, "/job/j1/run/1", "x 1\n", 200)
	send(t, old, http.MethodPut, "/job/j2/run/2", "x 1\n", 200)
	f := New(Config{Staying: []*gateway.Upstream{at(t, u)}, Leaving: []*gateway.Upstream{old}})
	list(t, f)
	f.Move(t.Context(), holdAny)
	put := gateway.Request{Method: http.MethodPut, Body: []byte("x 2\n")}
	for _, n := range []int{1, 2} {
		put.Key = job(n)
		if a, err := f.Do(t.Context(), put); err != nil || a.Status != http.StatusBadGateway {
			t.Fatalf("%d %v", a.Status, err)
		}
	}
	if n := len(content(t, home)); n != 2 {
		t.Fatalf("%d groups are where they belong, want 2", n)
	}
	push(t, f, http.MethodDelete, 1, "")
	push(t, f, http.MethodDelete, 2, "")
	eventually(t, func() error {
		f.Move(t.Context(), holdAny)
		if n := list(t, f); n != 0 {
			return fmt.Errorf("there are %d groups", n)
		}
		return nil
	})
	emptied(t, home)
}
