package spool

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/labels"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/pushguard/pushguard/proxy/gateway"
	"github.com/pushguard/pushguard/proxy/leaktest"
	"github.com/pushguard/pushguard/proxy/logtest"
	"github.com/pushguard/pushguard/proxy/state"
	"github.com/pushguard/pushguard/proxy/wire"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// model is a Pushgateway of a few lines: families by group, each the body line it came
// with. While it is away it answers nobody, and may act all the same.
type model struct {
	mu     sync.Mutex
	groups map[string]map[string]string
	away   bool
	acts   bool // though it is away
	log    []string
}

var errAway = fmt.Errorf("%w: it is away", gateway.ErrTimeout)

func (m *model) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away && !m.acts || ctx.Err() != nil {
		return gateway.Answer{}, errAway
	}
	m.apply(r.Key.Job(), r.Method, string(r.Body))
	m.log = append(m.log, r.Method+" "+r.Key.Job())
	if m.away {
		return gateway.Answer{}, errAway
	}
	return gateway.Answer{Status: http.StatusOK}, nil
}

func (m *model) apply(job, method, body string) {
	if method != http.MethodPost {
		delete(m.groups, job)
	}
	if method == http.MethodDelete {
		return
	}
	if m.groups[job] == nil {
		m.groups[job] = map[string]string{}
	}
	for line := range strings.Lines(body) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			m.groups[job][name] = value
		}
	}
}

func (m *model) Forward(context.Context, string, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{Status: http.StatusAccepted}, nil
}
func (m *model) Groups(context.Context, uint64) ([]gateway.Group, error) { return nil, nil }
func (m *model) Proxy() http.Handler                                     { return http.NotFoundHandler() }

func (m *model) Started(context.Context) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return time.Time{}, errAway
	}
	return time.Time{}, nil
}

func (m *model) set(away, acts bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away, m.acts = away, acts
}

// opened is a spool that runs, until stop is called.
func opened(t rapid.TB, dir string, m *model) (s *Spool, stop func()) {
	t.Helper()
	d, err := state.Open(context.Background(), dir, state.Options{Sync: state.SyncNever, Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err = Open(Config{Upstream: m, Dir: d, MaxGroups: 100, MaxBytes: 1 << 20, Limits: Limits{Decoded: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	s.settles = time.Millisecond
	if _, err := s.Groups(context.Background(), 0); err != nil && !errors.As(err, new(*gateway.Partial)) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	return s, func() {
		cancel()
		<-done
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func key(job string) wire.Key { return wire.NewKey(labels.Label{Name: "job", Value: job}) }

// push is a write as the guard sends it.
func push(t rapid.TB, s *Spool, method, job, body string) gateway.Answer {
	t.Helper()
	r := gateway.Request{Method: method, Key: key(job), Body: []byte(body)}
	if method != http.MethodDelete {
		r.Push = &wire.Push{}
		if err := r.Push.Parse([]byte(body), wire.Text, r.Key, wire.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	a, err := s.Do(context.Background(), r)
	if err != nil || a.Status != http.StatusOK && !(a.Status == http.StatusAccepted && a.Spooled) {
		t.Fatalf("%s %s: %+v, %v", method, job, a, err)
	}
	return a
}

func emptied(t rapid.TB, s *Spool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Status().Groups > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the spool is not empty: %+v", s.Status())
		}
	}
}

// Whatever is pushed while the upstream comes and goes and the process ends, it holds in
// the end what it would had it never been away.
func TestNewestStateArrives(t *testing.T) {
	dirs := 0
	base := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dirs++
		dir := fmt.Sprintf("%s/%d", base, dirs)
		m, want := &model{groups: map[string]map[string]string{}}, &model{groups: map[string]map[string]string{}}
		s, stop := opened(t, dir, m)
		for i := range rapid.IntRange(1, 30).Draw(t, "writes") {
			switch rapid.IntRange(0, 9).Draw(t, "fault") {
			case 0:
				m.set(true, rapid.Bool().Draw(t, "acts"))
			case 1:
				m.set(false, false)
			case 2:
				stop()
				s, stop = opened(t, dir, m)
			}
			method := rapid.SampledFrom([]string{"PUT", "POST", "POST", "POST", "DELETE"}).Draw(t, "method")
			job := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "job")
			var body strings.Builder
			for _, f := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z"}), 0, 3, rapid.ID[string]).Draw(t, "families") {
				fmt.Fprintf(&body, "%s %d\n", f, i)
			}
			push(t, s, method, job, body.String())
			want.apply(job, method, body.String())
		}
		m.set(false, false)
		emptied(t, s)
		stop()
		if diff := cmp.Diff(want.groups, m.groups); diff != "" {
			t.Fatalf("the upstream holds (-want +got):\n%s", diff)
		}
		if s.Status().Bytes != 0 {
			t.Fatalf("an empty spool counts %d bytes", s.Status().Bytes)
		}
	})
}

// What waits grows with the groups, not with the time.
func TestBoundedByGroups(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, stop := opened(t, t.TempDir(), m)
	defer stop()
	for i := range 1000 {
		push(t, s, "PUT", "put", fmt.Sprintf("x %d\ny 1\n", i))
		push(t, s, "POST", "post", fmt.Sprintf("x %d\n", i))
		push(t, s, "POST", "post", fmt.Sprintf("y %d\n", i))
	}
	if now := s.Status(); now.Groups != 2 || now.Bytes > 2000 {
		t.Errorf("after 3000 writes of two groups there wait %d groups, %d bytes", now.Groups, now.Bytes)
	}
}

// A write does not go ahead of those of its group that wait, though the upstream is back.
func TestNoOvertaking(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, stop := opened(t, t.TempDir(), m)
	defer stop()
	push(t, s, "PUT", "a", "x 1\n")
	m.set(false, false)
	push(t, s, "POST", "a", "y 2\n")
	emptied(t, s)
	m.mu.Lock()
	defer m.mu.Unlock()
	if want := []string{"PUT a", "POST a"}; !slices.Equal(m.log, want) {
		t.Errorf("it got %q, want %q", m.log, want)
	}
}

// TestDeliveredIsForgotten has a group be delivered and then pushed to, and looks what
// there is in the directory at the moment of that answer: nothing that waits, or it would
// come again over the newer push.
func TestDeliveredIsForgotten(t *testing.T) {
	// On one processor nobody writes while a push is answered but who answers it.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	path := t.TempDir()
	m := &model{groups: map[string]map[string]string{}}
	s, closes := waiting(t, path, m)
	defer closes()
	for i := range 20 {
		job := fmt.Sprint("a", i)
		m.set(true, false)
		push(t, s, "PUT", job, "x 1\n")
		m.set(false, false)
		s.deliver(t.Context(), s.entries[key(job).ID()], &wire.Push{})
		s.lanes[0].down = false
		push(t, s, "PUT", job, "x 2\n")
		there := t.TempDir()
		if err := os.CopyFS(there, os.DirFS(path)); err != nil {
			t.Fatal(err)
		}
		later, closes := waiting(t, there, m)
		if n := later.Status().Groups; n != 0 {
			t.Errorf("after %s was delivered and pushed to %d groups wait for who starts then", job, n)
		}
		closes()
	}
}

// TestStartedAgain opens a spool in which something waits: what the process before had sent
// may be on its way, and what waits is not delivered before the upstream had its time for it.
func TestStartedAgain(t *testing.T) {
	path := t.TempDir()
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, closes := waiting(t, path, m)
	push(t, s, "PUT", "a", "x 1\n")
	closes()
	m.set(false, false)
	s, closes = waiting(t, path, m)
	defer closes()
	l := s.lanes[0]
	e, probe, _ := s.next(l)
	if e != nil || !probe || !l.unsure {
		t.Errorf("to be delivered at once is %v, asked is %v, waited for %v", e, probe, l.unsure)
	}
	push(t, s, "PUT", "b", "x 1\n")
	if n := s.Status().Groups; n != 2 {
		t.Errorf("%d groups wait, want 2", n)
	}
	s.settles = time.Millisecond
	s.look(t.Context(), l)
	if e, _, _ := s.next(l); e == nil {
		t.Error("nothing is delivered after that")
	}
}

// waiting is a spool that delivers nothing by itself.
func waiting(t *testing.T, path string, m *model) (s *Spool, closes func()) {
	t.Helper()
	d, err := state.Open(t.Context(), path, state.Options{Sync: state.SyncNever})
	if err != nil {
		t.Fatal(err)
	}
	if s, err = Open(Config{Upstream: m, Dir: d, MaxGroups: 100, MaxBytes: 1 << 20, Limits: Limits{Decoded: 1 << 20}}); err != nil {
		t.Fatal(err)
	}
	s.listed.Store(true)
	return s, func() { _ = d.Close() }
}

// A disk that takes nothing has the write fail, and nothing is kept of it.
func TestDiskGone(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, stop := opened(t, t.TempDir(), m)
	push(t, s, "PUT", "a", "x 1\n")
	_ = s.cfg.Dir.Close()
	_, err := s.Do(t.Context(), gateway.Request{Method: "PUT", Key: key("a"), Body: []byte("x 2\n")})
	if err == nil {
		t.Error("a write that is not on disk was acknowledged")
	}
	if now := s.Status(); now.Groups != 1 || s.stats.disk.Load() != 1 {
		t.Errorf("%d groups wait, want the one of before; counted are %d", now.Groups, s.stats.disk.Load())
	}
	m.set(false, false)
	emptied(t, s)
	stop()
	if diff := cmp.Diff(map[string]map[string]string{"a": {"x": "1"}}, maps.Clone(m.groups)); diff != "" {
		t.Error(diff)
	}
}

// TestNotKept: a write that the Pushgateway did not answer in time, and that nothing
// keeps, fails as it would without a spool: it may have been carried out.
func TestNotKept(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}}
	s, stop := opened(t, t.TempDir(), m)
	defer stop()
	s.Upstream = late{s.Upstream}
	_ = s.cfg.Dir.Close()
	_, err := s.Do(t.Context(), gateway.Request{Method: "PUT", Key: key("a"), Body: []byte("x 1\n")})
	if !errors.Is(err, gateway.ErrTimeout) {
		t.Errorf("%v, want %v", err, gateway.ErrTimeout)
	}
}

// TestAnotherReasonIsLogged has a Pushgateway that was gone come back with another password.
func TestAnotherReasonIsLogged(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, stop := opened(t, t.TempDir(), m)
	log := &logtest.Buffer{}
	s.cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	refused := errors.New("status of the upstream: status 401")
	asked := make(chan struct{})
	s.cfg.Probe = func(ctx context.Context, _ int) error {
		select {
		case asked <- struct{}{}:
		case <-ctx.Done():
		}
		return refused
	}
	push(t, s, "PUT", "a", "x 1\n")
	for range 3 {
		<-asked
	}
	stop()
	for _, want := range []string{errAway.Error(), refused.Error()} {
		if strings.Count(log.String(), want) != 1 {
			t.Errorf("%q is not there once:\n%s", want, log.String())
		}
	}
}

// upstream is one that answers as it is told, and remembers what it was asked.
type upstream struct {
	Upstream
	answer gateway.Answer
	groups []gateway.Group
	listed error
	asked  []gateway.Request
}

func (u *upstream) Do(_ context.Context, r gateway.Request) (gateway.Answer, error) {
	u.asked = append(u.asked, r)
	return u.answer, nil
}

func (u *upstream) Forward(context.Context, string, gateway.Request) (gateway.Answer, error) {
	return u.answer, nil
}

func (u *upstream) Groups(context.Context, uint64) ([]gateway.Group, error) {
	return u.groups, u.listed
}

// TestLastWord: what an upstream says of a push itself is the last word on it, and told.
// After any other answer than that it is there it goes on waiting, and only one that any
// push might get has the others wait, too.
func TestLastWord(t *testing.T) {
	for status, want := range map[int]struct{ told, waits, down bool }{
		200: {}, 202: {},
		400: {told: true}, 413: {told: true}, 415: {told: true}, 422: {told: true},
		401: {waits: true}, 403: {waits: true}, 404: {waits: true}, 304: {waits: true}, 101: {waits: true},
		429: {waits: true, down: true}, 500: {waits: true, down: true}, 503: {waits: true, down: true},
	} {
		s, closes := waiting(t, t.TempDir(), &model{groups: map[string]map[string]string{}, away: true})
		push(t, s, "PUT", "a", "x 1\n")
		s.lanes[0].down = false
		s.Upstream = &upstream{answer: gateway.Answer{Status: status, Body: []byte("because")}}
		var told []Refusal
		s.OnRefusal(func(r Refusal) { told = append(told, r) })
		e, _, _ := s.next(s.lanes[0])
		s.deliver(t.Context(), e, &wire.Push{})
		if waits := s.Waits(key("a")); waits != want.waits || s.lanes[0].down != want.down {
			t.Errorf("%d: it waits: %v, and so do others: %v; want %+v", status, waits, s.lanes[0].down, want)
		}
		if again, _, _ := s.next(s.lanes[0]); again != nil {
			t.Errorf("%d: it is sent again at once", status)
		}
		if got := len(told) == 1 && told[0].Key.ID() == key("a").ID() && told[0].Status == status && string(told[0].Body) == "because"; got != want.told {
			t.Errorf("%d: told is %+v", status, told)
		}
		counted := [3]uint64{s.stats.delivered.Load(), s.stats.rejected.Load(), s.stats.retried.Load()}
		if sum := counted[0] + counted[1] + counted[2]; sum != 1 || want.told != (counted[1] == 1) || want.waits != (counted[2] == 1) {
			t.Errorf("%d: delivered, rejected and retried are %d", status, counted)
		}
		closes()
	}
}

// TestGoesAsItCame has a push in another encoding and compressed wait, and one family of it
// be replaced: the rest arrives, and says what it is in now and on whose behalf.
func TestGoesAsItCame(t *testing.T) {
	s, closes := waiting(t, t.TempDir(), &model{groups: map[string]map[string]string{}, away: true})
	defer closes()
	var plain, body bytes.Buffer
	for _, name := range []string{"x", "y"} {
		mf := &dto.MetricFamily{Name: &name, Type: dto.MetricType_GAUGE.Enum(), Metric: []*dto.Metric{{Gauge: &dto.Gauge{Value: proto.Float64(1)}}}}
		if _, err := protodelim.MarshalTo(&plain, mf); err != nil {
			t.Fatal(err)
		}
	}
	zip := gzip.NewWriter(&body)
	_, _ = zip.Write(plain.Bytes())
	_ = zip.Close()
	header := http.Header{"Content-Type": {wire.ProtobufType}, "Content-Encoding": {"gzip"}, "Authorization": {"Basic YQ=="}, "Cookie": {"c"}}
	parsed := &wire.Push{}
	if err := parsed.Parse(plain.Bytes(), wire.Protobuf, key("a"), wire.Options{}); err != nil {
		t.Fatal(err)
	}
	u := &upstream{answer: gateway.Answer{Status: 200}}
	if _, err := s.Do(t.Context(), gateway.Request{Method: "POST", Key: key("a"), Header: header, Body: body.Bytes(), Push: parsed}); err != nil {
		t.Fatal(err)
	}
	deliver := func() gateway.Request {
		s.Upstream = u
		s.deliver(t.Context(), s.entries[key("a").ID()], &wire.Push{})
		return u.asked[len(u.asked)-1]
	}
	u.answer.Status = 503
	want := http.Header{"Content-Type": {wire.ProtobufType}, "Content-Encoding": {"gzip"}, "Authorization": {"Basic YQ=="}}
	if got := deliver(); !bytes.Equal(got.Body, body.Bytes()) || !maps.EqualFunc(got.Header, want, slices.Equal) {
		t.Errorf("the whole arrives with %v", got.Header)
	}
	push(t, s, "POST", "a", "y 2\n")
	u.answer.Status = 200
	delete(want, "Content-Encoding")
	got := deliver()
	var left dto.MetricFamily
	if err := protodelim.UnmarshalFrom(bytes.NewReader(got.Body), &left); err != nil || left.GetName() != "x" || !maps.EqualFunc(got.Header, want, slices.Equal) {
		t.Errorf("the rest arrives as %v with %v, %v", &left, got.Header, err)
	}
	if got := deliver(); string(got.Body) != "y 2\n" {
		t.Errorf("then arrives %q", got.Body)
	}
}

// TestWiped: a wipe that has succeeded is of what waits, too, also for who starts then.
func TestWiped(t *testing.T) {
	path := t.TempDir()
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, closes := waiting(t, path, m)
	push(t, s, "PUT", "a", "x 1\n")
	push(t, s, "PUT", "b", "x 1\n")
	u := &upstream{}
	s.Upstream = u
	for _, no := range []struct {
		path   string
		status int
	}{{"/api/v1/admin/wipe", 404}, {"/api/v1/admin/wipe", 300}, {"/-/quit", 200}} {
		u.answer.Status = no.status
		if _, err := s.Forward(t.Context(), no.path, gateway.Request{}); err != nil || s.Status().Groups != 2 {
			t.Errorf("%v wipes what waits: %+v, %v", no, s.Status(), err)
		}
	}
	u.answer.Status = 202
	if _, err := s.Forward(t.Context(), "/api/v1/admin/wipe", gateway.Request{}); err != nil || s.Status().Groups != 0 || s.Status().Bytes != 0 {
		t.Errorf("after a wipe there wait %+v, %v", s.Status(), err)
	}
	if e, _, _ := s.next(s.lanes[0]); e != nil {
		t.Errorf("%v is delivered after a wipe", e.key)
	}
	s.Upstream = m
	push(t, s, "PUT", "b", "x 2\n")
	closes()
	s, closes = waiting(t, path, m)
	defer closes()
	if s.Waits(key("a")) || !s.Waits(key("b")) {
		t.Errorf("after a restart there waits a: %v, b: %v", s.Waits(key("a")), s.Waits(key("b")))
	}
}

// TestTwins has two groups wait for an upstream that turns out to hold twins of them. What
// waits is refused, and told so once; what is on its way is the upstream's to answer.
func TestTwins(t *testing.T) {
	s, closes := waiting(t, t.TempDir(), &model{groups: map[string]map[string]string{}, away: true})
	defer closes()
	twin := func(job string) gateway.Group {
		return gateway.Group{Key: wire.NewKey(labels.Label{Name: "job", Value: job}, labels.Label{Name: "instance"})}
	}
	for _, job := range []string{"sent", "a", "b"} {
		push(t, s, "PUT", job, "x 1\n")
	}
	s.lanes[0].down = false
	sent, _, _ := s.next(s.lanes[0])
	u := &upstream{
		answer: gateway.Answer{Status: 400}, groups: []gateway.Group{twin("sent"), twin("a"), {Key: key("b")}},
		listed: &gateway.Partial{Unknown: func(k wire.Key) bool { return k.Job() == "elsewhere" }},
	}
	s.Upstream = u
	var told []string
	s.OnRefusal(func(r Refusal) { told = append(told, r.Key.Job()) })
	_, err := s.Groups(t.Context(), 0)
	if sent.key.Job() != "sent" || s.Waits(key("a")) || !s.Waits(key("b")) || !slices.Equal(told, []string{"a"}) {
		t.Errorf("told are %q, and %v is on its way; a waits: %v, b: %v", told, sent.key, s.Waits(key("a")), s.Waits(key("b")))
	}
	var partial *gateway.Partial
	if !errors.As(err, &partial) || !partial.Unknown(key("b")) || !partial.Unknown(key("elsewhere")) || partial.Unknown(key("else")) {
		t.Errorf("the listing is not that of some groups only: %v", err)
	}
	s.deliver(t.Context(), sent, &wire.Push{})
	if s.Waits(key("sent")) || !slices.Equal(told, []string{"a", "sent"}) {
		t.Errorf("told are %q, and what was on its way waits: %v", told, s.Waits(key("sent")))
	}
}

// late is an upstream that never answers in time.
type late struct{ Upstream }

func (late) Do(context.Context, gateway.Request) (gateway.Answer, error) {
	return gateway.Answer{}, gateway.ErrTimeout
}

func FuzzReadGroup(f *testing.F) {
	p := newPart(gateway.Request{Method: "PUT", Body: []byte("x 1\n"), ContentType: wire.TextType}, time.Unix(1, 0))
	f.Add(appendGroup(nil, key("a").ID(), []*part{p, p}))
	f.Add(appendGroup(nil, key("a").ID(), nil))
	f.Add([]byte{recordWipe})
	f.Fuzz(func(t *testing.T, record []byte) {
		if len(record) == 0 {
			return
		}
		id, parts, err := readGroup(record[1:])
		if err != nil {
			return
		}
		again, same, err := readGroup(appendGroup(nil, id, parts)[1:])
		if err != nil || again != id || len(same) != len(parts) {
			t.Errorf("%x is read as %q with %d parts, and again as %q with %d, %v", record, id, len(parts), again, len(same), err)
		}
	})
}

// TestNotReadyOnceFull keeps pushes until there is no room for one more: whoever asks is
// told by then, and not as long as half of it is free.
func TestNotReadyOnceFull(t *testing.T) {
	s, stop := opened(t, t.TempDir(), &model{groups: map[string]map[string]string{}, away: true})
	defer stop()
	s.cfg.MaxGroups, s.cfg.MaxBytes = 10_000, 50_000
	var err error
	for n := 0; err == nil; n++ {
		if now := s.Status(); now.Full && now.Bytes < s.cfg.MaxBytes/2 {
			t.Fatalf("it is full with %d bytes of %d", now.Bytes, s.cfg.MaxBytes)
		}
		_, err = s.Do(t.Context(), gateway.Request{Method: "PUT", Key: key(fmt.Sprint(n)), Body: []byte(strings.Repeat("x", 500))})
	}
	if now := s.Status(); !now.Full || now.Bytes == s.cfg.MaxBytes {
		t.Errorf("%d bytes of %d are taken, and it is full: %v; %v", now.Bytes, s.cfg.MaxBytes, now.Full, err)
	}
	w := httptest.NewRecorder()
	s.Proxy().ServeHTTP(w, httptest.NewRequest("GET", "/-/ready", http.NoBody))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || s.stats.full.Load() != 1 {
		t.Errorf("it says %d to who asks, after %d writes that were not kept", w.Code, s.stats.full.Load())
	}
}

// TestFullSaysOfWhat: a write that a full spool does not take says what there is too much of.
func TestFullSaysOfWhat(t *testing.T) {
	for want, bound := range map[string]func(*Config){
		"the spool is full, groups: 1, limit: 1":                 func(c *Config) { c.MaxGroups = 1 },
		`the spool is full, bytes: \d+ and \d+ more, limit: \d+`: func(c *Config) { c.MaxBytes = 1 },
	} {
		s, stop := opened(t, t.TempDir(), &model{groups: map[string]map[string]string{}, away: true})
		push(t, s, "PUT", "a", "x 1\n")
		bound(&s.cfg)
		_, err := s.Do(t.Context(), gateway.Request{Method: "PUT", Key: key("b"), Body: []byte("x 2\n")})
		if !errors.Is(err, gateway.ErrUnreachable) || !regexp.MustCompile(want+"$").MatchString(err.Error()) {
			t.Errorf("%v, want %s", err, want)
		}
		stop()
	}
}

// pair is two models, a group on one of them: but a PUT of a stray goes to the second.
type pair struct {
	*model
	second *model
	strays string // the job that the first still has
}

func (p *pair) lane(k wire.Key, method string) int {
	if k.Job() == p.strays && method != http.MethodPut {
		return 0
	}
	return 1
}

func (p *pair) Do(ctx context.Context, r gateway.Request) (gateway.Answer, error) {
	return []*model{p.model, p.second}[p.lane(r.Key, r.Method)].Do(ctx, r)
}

func (p *pair) probe(ctx context.Context, lane int) error {
	_, err := []*model{p.model, p.second}[lane].Started(ctx)
	return err
}

// TestLaneOfAWrite has a group that is to move be on an upstream that is away: what is
// posted to it waits for that one, and no other group waits with it; a PUT goes to the other
// one, also if something waits.
func TestLaneOfAWrite(t *testing.T) {
	p := &pair{
		model:  &model{groups: map[string]map[string]string{}, away: true},
		second: &model{groups: map[string]map[string]string{}}, strays: "stray",
	}
	d, err := state.Open(t.Context(), t.TempDir(), state.Options{Sync: state.SyncNever, Wait: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{
		Upstream: p, Dir: d, MaxGroups: 100, MaxBytes: 1 << 20, Limits: Limits{Decoded: 1 << 20},
		Lanes: 2, Lane: p.lane, Probe: p.probe,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Groups(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	defer func() { cancel(); <-done; _ = d.Close() }()
	write := func(method, job string) bool {
		t.Helper()
		a, err := s.Do(t.Context(), gateway.Request{Method: method, Key: key(job), Body: []byte("x 1\n")})
		if err != nil {
			t.Fatal(err)
		}
		return a.Spooled
	}
	if !write("POST", "stray") {
		t.Error("what is posted to one that is away is not kept")
	}
	for range 100 { // the probes of the second are answered meanwhile
		if write("POST", "other") {
			t.Fatal("a push waits for an upstream that it does not go to")
		}
		time.Sleep(5 * time.Millisecond)
	}
	write("PUT", "stray")
	for s.Waits(key("stray")) {
		time.Sleep(time.Millisecond)
	}
	if p.second.groups["stray"]["x"] != "1" {
		t.Error("a PUT waits for an upstream that it does not go to")
	}
}
