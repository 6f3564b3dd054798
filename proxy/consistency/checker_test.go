package consistency_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/pushguard/pushguard/proxy/consistency"
	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/wire"
)

// fake is an upstream that says what it is told to.
type fake struct {
	mu     sync.Mutex
	sent   []string
	answer func(gateway.Request) (gateway.Answer, error) // nil accepts
	groups []gateway.Group
	most   error  // beside the groups
	listed func() // called while it lists
	own    map[string]dto.MetricType
	ownErr error
	asked  int // for its own families
	began  time.Time
}

func (f *fake) Do(_ context.Context, r gateway.Request) (gateway.Answer, error) {
	f.mu.Lock()
	f.sent = append(f.sent, fmt.Sprintf("%s %s %s", r.Method, r.Key, r.Body))
	answer := f.answer
	f.mu.Unlock()
	if answer != nil {
		return answer(r)
	}
	return gateway.Answer{Status: http.StatusAccepted}, nil
}

func (f *fake) Forward(context.Context, string, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusAccepted}, nil
}

func (f *fake) Groups(context.Context, uint64) ([]gateway.Group, error) {
	if f.listed != nil {
		f.listed()
	}
	return f.groups, f.most
}

func (f *fake) OwnFamilies(context.Context) (map[string]dto.MetricType, error) {
	f.asked++
	return f.own, f.ownErr
}

func (f *fake) Started(context.Context) (time.Time, error) { return f.began, nil }
func (f *fake) Proxy() http.Handler                        { return http.NotFoundHandler() }

// begun returns a checker that knows what the fake holds.
func begun(t *testing.T, f *fake) *consistency.Checker {
	t.Helper()
	c := consistency.New(f, slog.New(slog.DiscardHandler))
	relist(t, c)
	return c
}

func relist(t *testing.T, c *consistency.Checker) {
	t.Helper()
	if _, err := c.Groups(t.Context(), seed); err != nil {
		t.Fatal(err)
	}
}

// push pushes a body and wants that status.
func push(t *testing.T, c *consistency.Checker, want int, method string, k wire.Key, body string) gateway.Answer {
	t.Helper()
	r, ok := op{method: method, key: k, body: body}.request()
	if !ok {
		t.Fatalf("%q does not parse", body)
	}
	foreseen, foreseenErr := c.Foresee(r)
	a, err := c.Do(t.Context(), r)
	if known := err == nil || foreseenErr != nil; known && (foreseen.Status != a.Status || (foreseenErr == nil) != (err == nil)) {
		t.Errorf("%s %s %q: %d %v, foreseen %d %v", method, k, body, a.Status, err, foreseen.Status, foreseenErr)
	}
	if err == nil && a.Status != want || err != nil && want != 0 {
		t.Fatalf("%s %s %q: %d %s %v, want %d", method, k, body, a.Status, a.Body, err, want)
	}
	return a
}

var (
	j, k = key("job", "j"), key("job", "k")
	ji   = key("job", "j", "instance", "i")
)

const asGauge, asCounter = "# TYPE a gauge\na 1\n", "# TYPE a counter\na 1\n"

func TestRefusedPushNeverGoesOn(t *testing.T) {
	f := &fake{}
	c := begun(t, f)
	push(t, c, 200, "PUT", j, asGauge)
	a := push(t, c, 400, "PUT", k, asCounter)
	const want = `pushed metrics are invalid or inconsistent with existing metrics: collected metric "a" { label:{name:"instance" value:""} label:{name:"job" value:"k"} } is not a GAUGE` + "\n"
	if got := string(a.Body); got != want || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("%q %v\nwant %q", got, a.Header, want)
	}
	if got := f.sent[1:]; len(got) != 1 || got[0] != `POST {job="k"} refused 0 0`+"\n" {
		t.Errorf("sent %q, want the mark of a failure alone", got)
	}
	f.answer = func(gateway.Request) (gateway.Answer, error) { return gateway.Answer{}, gateway.ErrUnreachable }
	push(t, c, 400, "PUT", k, asCounter) // its client is to mend it whether it is noted or not
}

// TestWhatAPushLeaves has a push end in every way, and says which types the family may
// then have elsewhere.
func TestWhatAPushLeaves(t *testing.T) {
	for name, tc := range map[string]struct {
		answer           gateway.Answer
		err              error
		gauge, asCounter int // the answers to another group, 0 for an error
	}{
		"taken":       {gateway.Answer{Status: 202}, nil, 200, 400},
		"refused":     {gateway.Answer{Status: 400}, nil, 400, 200},
		"unreachable": {gateway.Answer{}, gateway.ErrUnreachable, 400, 200},
		"redirected":  {gateway.Answer{}, gateway.ErrRedirect, 400, 200},
		"unknown":     {gateway.Answer{}, gateway.ErrTimeout, 0, 0},
		"broken":      {gateway.Answer{}, gateway.ErrBroken, 0, 0},
		"failed":      {gateway.Answer{Status: 500}, nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fake{}
			c := begun(t, f)
			push(t, c, 200, "PUT", j, asCounter+"b 1\n")
			f.answer = func(gateway.Request) (gateway.Answer, error) { return tc.answer, tc.err }
			r, _ := op{method: "PUT", key: j, body: asGauge}.request()
			if a, err := c.Do(t.Context(), r); !errors.Is(err, tc.err) || a.Status == 202 {
				t.Fatalf("%d %v", a.Status, err)
			}
			f.answer = nil
			if tc.asCounter == 200 {
				push(t, c, 400, "PUT", k, asGauge)
				push(t, c, 200, "PUT", k, asCounter)
				return
			}
			push(t, c, tc.asCounter, "PUT", k, asCounter)
			push(t, c, tc.gauge, "PUT", k, asGauge)
			push(t, c, 202, "DELETE", j, "") // after which it is certain
			push(t, c, 202, "DELETE", k, "")
			push(t, c, 200, "PUT", k, asCounter)
		})
	}
}

// TestNameOfWhatMayBeAHistogram has a family that a push without an answer may have left a
// histogram stand in the way of what is named as its series are.
func TestNameOfWhatMayBeAHistogram(t *testing.T) {
	f := &fake{}
	c := begun(t, f)
	push(t, c, 200, "PUT", j, "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n")
	f.answer = func(gateway.Request) (gateway.Answer, error) { return gateway.Answer{}, gateway.ErrTimeout }
	push(t, c, 0, "PUT", j, asGauge)
	f.answer = nil
	push(t, c, 0, "PUT", k, "a_count 1\n")
	push(t, c, 0, "POST", j, "a_count 1\n") // it may be a histogram still
	push(t, c, 200, "PUT", j, "a_count 1\n")
	relist(t, c)
	push(t, c, 200, "PUT", k, "a_count 1\n")
}

// TestTypeThatIsBeingPushed has no other group believe that a family is of the type as
// which it is being pushed: nobody knows how that ends, also after a listing meanwhile.
func TestTypeThatIsBeingPushed(t *testing.T) {
	for _, listed := range []bool{false, true} {
		f := &fake{}
		c := begun(t, f)
		push(t, c, 200, "PUT", j, asCounter)
		f.answer = func(gateway.Request) (gateway.Answer, error) {
			f.answer = nil
			if listed {
				relist(t, c)
			}
			push(t, c, 0, "PUT", k, asGauge)
			return gateway.Answer{}, gateway.ErrUnreachable
		}
		push(t, c, 0, "PUT", j, asGauge)
		push(t, c, 400, "PUT", k, asGauge)
		push(t, c, 200, "PUT", k, asCounter)
		push(t, c, 202, "DELETE", k, "")
		push(t, c, 200, "PUT", j, asGauge)
		push(t, c, 200, "PUT", k, asGauge)
	}
}

// TestUnknownIsSettledByAListing has both be held until the upstream says which.
func TestUnknownIsSettledByAListing(t *testing.T) {
	f := &fake{answer: func(gateway.Request) (gateway.Answer, error) { return gateway.Answer{}, gateway.ErrTimeout }}
	c := begun(t, f)
	push(t, c, 0, "PUT", j, asGauge)
	f.answer = nil
	push(t, c, 400, "PUT", k, asCounter)
	relist(t, c) // it was never applied
	push(t, c, 200, "PUT", k, asCounter)
}

func TestListing(t *testing.T) {
	f := &fake{groups: []gateway.Group{{Key: j, Families: []wire.FamilyPrint{
		{Name: "a", Type: dto.MetricType_GAUGE, Metrics: []wire.MetricPrint{{Fingerprint: mustPrint(j, "instance", "i")}}},
	}}}}
	c := begun(t, f)
	push(t, c, 400, "PUT", k, asCounter)
	push(t, c, 400, "PUT", ji, asGauge) // the very series that the other group has
	f.groups = nil                      // others have deleted it
	push(t, c, 400, "PUT", k, asCounter)
	relist(t, c)
	push(t, c, 200, "PUT", k, asCounter)
}

// TestListingInPart: of what a listing says nothing stays as it is, and who asked is told so.
func TestListingInPart(t *testing.T) {
	f := &fake{groups: []gateway.Group{{Key: j, Families: []wire.FamilyPrint{{Name: "a", Type: dto.MetricType_GAUGE, Metrics: []wire.MetricPrint{{Fingerprint: 1}}}}}}}
	c := begun(t, f)
	f.groups = nil
	for _, most := range []error{&gateway.Partial{Unknown: j.Equal}, gateway.ErrTimeout} {
		f.most = most
		if _, err := c.Groups(t.Context(), seed); !errors.Is(err, most) {
			t.Errorf("the listing is told with %v, want %v", err, most)
		}
		push(t, c, 400, "PUT", k, asCounter)
	}
	f.most = &gateway.Partial{Unknown: k.Equal}
	_, _ = c.Groups(t.Context(), seed)
	push(t, c, 200, "PUT", k, asCounter)
}

func mustPrint(group wire.Key, pairs ...string) uint64 {
	fp, _ := wire.Print(seed, group, key(pairs...).Labels(), nil)
	return fp
}

// TestListingDoesNotForgetWhatCameMeanwhile pushes and deletes while the upstream lists
// what it held before.
func TestListingDoesNotForgetWhatCameMeanwhile(t *testing.T) {
	gone := key("job", "gone")
	f := &fake{}
	c := begun(t, f)
	push(t, c, 200, "PUT", gone, "# TYPE old gauge\nold 1\n")
	held := make(chan struct{})
	var slow sync.WaitGroup
	f.groups = []gateway.Group{{Key: gone, Families: []wire.FamilyPrint{{Name: "old", Type: dto.MetricType_GAUGE}}}}
	f.listed = func() {
		push(t, c, 200, "PUT", j, asGauge)
		push(t, c, 202, "DELETE", gone, "")
		begun := make(chan struct{})
		f.answer = func(gateway.Request) (gateway.Answer, error) {
			close(begun)
			<-held
			return gateway.Answer{Status: 202}, nil
		}
		slow.Go(func() {
			r, _ := op{method: "PUT", key: key("job", "slow"), body: "# TYPE s gauge\ns 1\n"}.request()
			_, _ = c.Do(context.Background(), r)
		})
		<-begun
		f.mu.Lock()
		f.answer = nil
		f.mu.Unlock()
	}
	relist(t, c)
	push(t, c, 400, "PUT", k, asCounter)
	push(t, c, 400, "PUT", k, "# TYPE s counter\ns 1\n")
	push(t, c, 200, "PUT", k, "# TYPE old counter\nold 1\n")
	close(held)
	slow.Wait()
	push(t, c, 400, "PUT", k, "# TYPE s counter\ns 1\n")
}

// TestListingMayLag has the upstream list what it held before it applied a push that it
// has accepted, and a delete; and nothing any more once it has restarted.
func TestListingMayLag(t *testing.T) {
	f := &fake{began: time.Unix(1, 0)}
	c := begun(t, f)
	started := func() {
		if _, err := c.Started(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	started()
	relist(t, c)
	gone := key("job", "gone")
	push(t, c, 200, "PUT", gone, "# TYPE old gauge\nold 1\n")
	push(t, c, 202, "DELETE", gone, "")
	push(t, c, 200, "PUT", j, asGauge)
	f.groups = []gateway.Group{{Key: gone, Families: []wire.FamilyPrint{{Name: "old", Type: dto.MetricType_GAUGE}}}}
	relist(t, c)
	push(t, c, 400, "PUT", k, asCounter)
	push(t, c, 200, "PUT", k, "# TYPE old counter\nold 1\n")
	f.groups, f.began = nil, time.Unix(2, 0)
	started()
	relist(t, c)
	push(t, c, 200, "PUT", k, asCounter)
}

func TestDeletesAndWipesMakeRoom(t *testing.T) {
	f := &fake{}
	c := begun(t, f)
	push(t, c, 200, "PUT", j, asGauge)
	f.answer = func(gateway.Request) (gateway.Answer, error) { return gateway.Answer{}, gateway.ErrTimeout }
	push(t, c, 0, "DELETE", j, "")
	f.answer = nil
	push(t, c, 400, "PUT", k, asCounter) // nobody knows whether it is gone
	push(t, c, 202, "DELETE", j, "")
	push(t, c, 200, "PUT", k, asCounter)
	if _, err := c.Forward(t.Context(), "/-/quit", gateway.Request{}); err != nil {
		t.Fatal(err)
	}
	push(t, c, 400, "PUT", j, asGauge)
	if _, err := c.Forward(t.Context(), "/api/v1/admin/wipe", gateway.Request{}); err != nil {
		t.Fatal(err)
	}
	push(t, c, 200, "PUT", j, asGauge)
}

// TestWipeBesideAPush wipes while a push is on its way, which may come after that.
func TestWipeBesideAPush(t *testing.T) {
	f := &fake{}
	c := begun(t, f)
	push(t, c, 200, "PUT", j, "b 1\n")
	f.answer = func(gateway.Request) (gateway.Answer, error) {
		f.answer = nil
		_, err := c.Forward(t.Context(), "/api/v1/admin/wipe", gateway.Request{})
		return gateway.Answer{Status: 202}, err
	}
	push(t, c, 200, "POST", j, asGauge)
	push(t, c, 400, "PUT", k, asCounter)
	push(t, c, 200, "PUT", k, asGauge)
}

// TestOwnFamilies has the upstream asked for them once, and again once it has restarted.
func TestOwnFamilies(t *testing.T) {
	f := &fake{own: map[string]dto.MetricType{"go_goroutines": dto.MetricType_GAUGE}, began: time.Unix(1, 0)}
	c := begun(t, f)
	for range 3 {
		if _, err := c.Started(t.Context()); err != nil {
			t.Fatal(err)
		}
		relist(t, c)
	}
	before := f.asked
	relist(t, c)
	if f.asked != before || before > 2 {
		t.Errorf("asked %d times, then %d", before, f.asked)
	}
	push(t, c, 400, "PUT", j, "go_goroutines 1\n")
	push(t, c, 400, "PUT", j, "# TYPE pushgateway_http_push_size_bytes gauge\npushgateway_http_push_size_bytes 1\n")
	f.began, f.own = time.Unix(2, 0), map[string]dto.MetricType{"go_goroutines": dto.MetricType_UNTYPED}
	if _, err := c.Started(t.Context()); err != nil {
		t.Fatal(err)
	}
	relist(t, c)
	push(t, c, 200, "PUT", j, "go_goroutines 1\n")
}

// TestContradictionsOfOthers has the upstream hold what it should not, which is told.
func TestContradictionsOfOthers(t *testing.T) {
	f := &fake{groups: []gateway.Group{
		{Key: j, Families: []wire.FamilyPrint{{Name: "a", Type: dto.MetricType_GAUGE}}},
		{Key: k, Families: []wire.FamilyPrint{{Name: "a", Type: dto.MetricType_COUNTER}}},
	}}
	var log bytes.Buffer
	c := consistency.New(f, slog.New(slog.NewTextHandler(&log, nil)))
	relist(t, c)
	if !strings.Contains(log.String(), "contradict one another") || !strings.Contains(log.String(), "families=1") {
		t.Errorf("log %s", &log)
	}
	push(t, c, 202, "DELETE", k, "")
	push(t, c, 400, "PUT", k, asCounter)
	push(t, c, 200, "PUT", k, asGauge)
}

// TestParallelPushes has many groups push what cannot all be held: of each pair that
// contradicts one another, exactly one type stays.
func TestParallelPushes(t *testing.T) {
	f := &fake{}
	c := begun(t, f)
	var pushing sync.WaitGroup
	taken := make([][2]int, 20)
	for w := range 2 {
		for n := range taken {
			pushing.Go(func() {
				for i := range 50 {
					typ := []string{"gauge", "counter"}[w]
					r, _ := op{method: "PUT", key: key("job", fmt.Sprint(n), "w", fmt.Sprint(w)), body: fmt.Sprintf("# TYPE a%d %s\na%d %d\n", n, typ, n, i)}.request()
					a, err := c.Do(context.Background(), r)
					if err != nil {
						t.Error(err)
					}
					if a.Status == 200 {
						taken[n][w]++
					}
				}
			})
		}
	}
	pushing.Wait()
	for n, t2 := range taken {
		if t2[0] > 0 && t2[1] > 0 || t2[0]+t2[1] != 50 {
			t.Errorf("family %d was taken %d times as a gauge, %d as a counter", n, t2[0], t2[1])
		}
	}
}

// BenchmarkCheck is a push that an upstream takes at once, its fingerprints known as in
// enforcement, into a book of so many groups.
func BenchmarkCheck(b *testing.B) {
	for _, bm := range []struct{ groups, series int }{{10, 10}, {10_000, 10}, {10, 200}, {1000, 200}} {
		b.Run(fmt.Sprintf("groups=%d/series=%d", bm.groups, bm.series), func(b *testing.B) {
			var body strings.Builder
			for i := range bm.series {
				fmt.Fprintf(&body, "step_%d_rows{table=\"t%d\",status=\"ok\"} 1\n", i/10, i)
			}
			c := consistency.New(&quiet{}, slog.New(slog.DiscardHandler))
			if _, err := c.Groups(b.Context(), seed); err != nil {
				b.Fatal(err)
			}
			pushes := make([]gateway.Request, bm.groups)
			for n := range pushes {
				r, ok := op{method: "PUT", key: key("job", "j", "instance", fmt.Sprint(n)), body: body.String(), fates: true}.request()
				if !ok {
					b.Fatal("does not parse")
				}
				pushes[n] = r
			}
			n := 0
			for b.Loop() {
				if a, err := c.Do(b.Context(), pushes[n%len(pushes)]); err != nil || a.Status != http.StatusOK {
					b.Fatal(a, err)
				}
				n++
			}
		})
	}
}

// quiet is a fake that remembers nothing.
type quiet struct{ fake }

func (q *quiet) Do(context.Context, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusAccepted}, nil
}

// TestWhatIsLeftOutIsNotHeld: of a push in protobuf, too, what does not go on contradicts
// nobody.
func TestWhatIsLeftOutIsNotHeld(t *testing.T) {
	c := begun(t, &fake{})
	var body bytes.Buffer
	a := &dto.MetricFamily{Name: new("a"), Type: dto.MetricType_COUNTER.Enum(), Metric: []*dto.Metric{{Counter: &dto.Counter{Value: new(1.0)}}}}
	if _, err := protodelim.MarshalTo(&body, a); err != nil {
		t.Fatal(err)
	}
	r := gateway.Request{Method: http.MethodPut, Key: j, Header: http.Header{}, Push: &wire.Push{}, Fates: []wire.Fate{{Act: wire.LeaveOut}}}
	if err := r.Push.Parse(body.Bytes(), wire.Protobuf, j, wire.Options{}); err != nil {
		t.Fatal(err)
	}
	if r.Body = wire.Render(nil, r.Push, r.Fates); len(r.Body) > 0 {
		t.Fatalf("%q goes on", r.Body)
	}
	if answer, err := c.Do(t.Context(), r); err != nil || answer.Status != http.StatusOK {
		t.Fatalf("%d %s %v", answer.Status, answer.Body, err)
	}
	push(t, c, 200, "PUT", k, asGauge)
}

// TestOwnFamiliesInPart has the upstream tell some of them, with an error: pushes are held to
// those, and to what is known from before, and it is asked with every listing until it tells
// all.
func TestOwnFamiliesInPart(t *testing.T) {
	f := &fake{own: map[string]dto.MetricType{"go_goroutines": dto.MetricType_GAUGE}, ownErr: errors.New("one of several is away")}
	var log bytes.Buffer
	c := consistency.New(f, slog.New(slog.NewTextHandler(&log, nil)))
	relist(t, c)
	push(t, c, 400, "PUT", j, "go_goroutines 1\n")
	f.own = map[string]dto.MetricType{"go_threads": dto.MetricType_GAUGE}
	relist(t, c)
	push(t, c, 400, "PUT", j, "go_goroutines 1\n")
	push(t, c, 400, "PUT", j, "go_threads 1\n")
	if n := strings.Count(log.String(), "does not tell which families"); n != 1 {
		t.Errorf("told %d times: %s", n, &log)
	}
	f.ownErr = nil
	relist(t, c)
	push(t, c, 200, "PUT", j, "go_goroutines 1\n")
	before := f.asked
	relist(t, c)
	if f.asked != before {
		t.Error("asked again though it had told all")
	}
}
