package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
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

// A disk that takes nothing has the write fail, and nothing is kept of it.
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

func TestDiskGone(t *testing.T) {
	m := &model{groups: map[string]map[string]string{}, away: true}
	s, stop := opened(t, t.TempDir(), m)
	push(t, s, "PUT", "a", "x 1\n")
	_ = s.cfg.Dir.Close()
	_, err := s.Do(t.Context(), gateway.Request{Method: "PUT", Key: key("a"), Body: []byte("x 2\n")})
	if err == nil {
		t.Error("a write that is not on disk was acknowledged")
	}
	if now := s.Status(); now.Groups != 1 {
		t.Errorf("%d groups wait, want the one of before", now.Groups)
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

// TestFullSaysOfWhat: a write that a full spool does not take says what there is too much of.
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
}

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
