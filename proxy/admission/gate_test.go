package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// enter takes a place for one push of a known job.
func enter(t *testing.T, g *Gate, job string, known bool, bytes int64) *Place {
	t.Helper()
	p := new(Place)
	if err := g.Enter(p, job, known, bytes); err != nil {
		t.Fatalf("%s: %v", job, err)
	}
	return p
}

// begin has a push ask for its turn and returns what it is told.
func begin(g *Gate, p *Place) <-chan error {
	told := make(chan error, 1)
	line := p.line
	go func() { told <- p.Start(context.Background()) }()
	for { // until it has its turn, waits, or is told
		g.mu.Lock()
		there := p.running || slices.Contains(line.queue, p)
		g.mu.Unlock()
		if there || len(told) > 0 {
			return told
		}
		time.Sleep(100 * time.Microsecond)
	}
}

func reason(err error) Reason {
	var shed *ShedError
	if errors.As(err, &shed) {
		return shed.Reason
	}
	return 0
}

// TestInFlight goes up to the limit, waits at it, and is shed where as many wait as may.
func TestInFlight(t *testing.T) {
	g := New(Config{InFlight: 2, Working: 2, Wait: time.Hour}) // who came first is next, however slow the machine
	var places []*Place
	var told []<-chan error
	for range 2 + 2*waitingShare {
		p := enter(t, g, "a", true, 0)
		places, told = append(places, p), append(told, begin(g, p))
	}
	for i := range 2 {
		if err := <-told[i]; err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Enter(new(Place), "a", true, 0); reason(err) != Full {
		t.Errorf("one more: %v, want it shed before its body is read", err)
	}
	for i := range places[2:] {
		places[i].Leave()
		if err := <-told[2+i]; err != nil {
			t.Errorf("%d, which is next: %v", 2+i, err)
		}
	}
	for _, p := range places[len(places)-2:] {
		p.Leave()
	}
	empty(t, g)
}

func empty(t *testing.T, g *Gate) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running+len(g.working)+g.waiting+len(g.lines.all) != 0 || g.bytes != 0 {
		t.Errorf("left behind: %d in flight, %d at work, %d waiting, %d bytes, %d lines", g.running, len(g.working), g.waiting, g.bytes, len(g.lines.all))
	}
}

// TestWait is shed when its turn does not come, and gives up with its client.
func TestWait(t *testing.T) {
	g := New(Config{InFlight: 1, Wait: time.Millisecond})
	first, second := enter(t, g, "a", true, 0), enter(t, g, "a", true, 0)
	if err := first.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := second.Start(t.Context()); reason(err) != Waited {
		t.Errorf("%v, want %v", err, Waited)
	}
	g.cfg.Wait = time.Minute
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := second.Start(gone); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	first.Leave()
	second.Leave()
	empty(t, g)
}

// TestALoadThatDoesNotEnd has a burst wait for its turn, and what comes once pushes have
// waited for all of that time not.
func TestALoadThatDoesNotEnd(t *testing.T) {
	for name, since := range map[string]func(*Gate, *line) *time.Time{
		"a job has waited all along":             func(_ *Gate, l *line) *time.Time { return &l.empty },
		"no job has had its turn without a wait": func(g *Gate, _ *line) *time.Time { return &g.prompt },
	} {
		t.Run(name, func(t *testing.T) {
			g := New(Config{InFlight: 1, Wait: time.Hour})
			first, second := enter(t, g, "a", true, 0), enter(t, g, "a", true, 0)
			<-begin(g, first)
			told := begin(g, second)
			g.mu.Lock()
			at := since(g, second.line)
			*at = at.Add(-time.Hour)
			g.cfg.Wait = time.Second // of which a twentieth passes soon
			g.mu.Unlock()
			late := enter(t, g, "a", true, 0)
			if err := <-begin(g, late); reason(err) != Waited {
				t.Errorf("%v, want it to wait for no longer than a twentieth", err)
			}
			late.Leave()
			select {
			case err := <-told:
				t.Errorf("the burst was told %v", err)
			default:
			}
			g.mu.Lock()
			second.since = time.Now().Add(time.Minute) // as if it had come with the other, however slow this is
			g.mu.Unlock()
			first.Leave()
			if err := <-told; err != nil {
				t.Error(err)
			}
			third := enter(t, g, "a", true, 0)
			soon := begin(g, third)
			g.mu.Lock()
			if time.Since(*since(g, third.line)) > time.Minute {
				t.Error("that nobody waited any more is not known")
			}
			g.mu.Unlock()
			second.Leave()
			<-soon
			third.Leave()
			empty(t, g)
		})
	}
}

// TestAPatientJobBesideAFlood has a job that pushes now and then wait as it may, while
// another has had pushes waiting for all of that time.
func TestAPatientJobBesideAFlood(t *testing.T) {
	g := New(Config{InFlight: 2, Working: 1, Wait: time.Hour})
	first, flood := enter(t, g, "flood", true, 0), enter(t, g, "flood", true, 0)
	<-begin(g, first)
	told := begin(g, flood)
	g.mu.Lock()
	flood.line.empty = flood.line.empty.Add(-time.Hour)
	small := g.lines.of("small", true)
	if got := g.patience(flood.line, time.Now()); got != g.soon() {
		t.Errorf("the flood waits for %v, want %v", got, g.soon())
	}
	small.join(new(Place), time.Now())
	if got := g.patience(small, time.Now()); got != time.Hour {
		t.Errorf("the other waits for %v, want %v", got, time.Hour)
	}
	small.newest()
	g.lines.tidy(small)
	g.mu.Unlock()
	first.Rest() // and with that gives its processor to the one that waits
	if err := <-told; err != nil {
		t.Error(err)
	}
	first.Leave()
	flood.Leave()
	empty(t, g)
}

// TestLate has who waits of a burst served, however late, and of a load that goes on
// nobody who has waited for longer than one that comes now would.
func TestLate(t *testing.T) {
	const wait = 24 * time.Hour
	const soon = wait / hurry
	for _, tc := range []struct {
		name                   string
		since, joined, hurried time.Duration // ago
		want                   Reason
	}{
		{"a burst", 2 * soon, 2 * soon, 2 * wait, 0},
		{"others come still", 2 * soon, 0, 2 * wait, Waited},
		{"and it came as they do", soon / 2, 0, 2 * wait, 0},
		{"one was shed", 2 * soon, 2 * soon, 0, Waited},
		{"one was shed long ago", 2 * soon, 2 * soon, 2 * wait, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(Config{InFlight: 1, Wait: wait})
			first, second := enter(t, g, "a", true, 0), enter(t, g, "a", true, 0)
			<-begin(g, first)
			told := begin(g, second)
			g.mu.Lock()
			now, l := time.Now(), second.line
			second.since, l.empty, l.joined, l.hurried = now.Add(-tc.since), now.Add(-tc.since), now.Add(-tc.joined), now.Add(-tc.hurried)
			if tc.joined == 0 {
				l.empty = now.Add(-wait)
			}
			g.mu.Unlock()
			first.Leave()
			if err := <-told; reason(err) != tc.want {
				t.Errorf("told %v, want %v", err, tc.want)
			}
			g.mu.Lock()
			if tc.want != 0 && g.patience(l, time.Now()) != soon {
				t.Error("who comes next may wait as if nobody had been shed")
			}
			g.mu.Unlock()
			second.Leave()
			empty(t, g)
		})
	}
}

// TestWhoIsNext has who came first be served first while turns follow one another so soon
// that nobody waits for long, who came last where they do not, and the first again once
// those before the last are fewer.
func TestWhoIsNext(t *testing.T) {
	const wait = 24 * time.Hour
	const enough = wait / hurry / 2
	for _, tc := range []struct {
		name  string
		turns time.Duration // from one to the next
		want  []int
	}{
		{"soon", 0, []int{1, 2, 3}},
		{"as soon as need be", enough / 4, []int{1, 2, 3}},
		{"later", enough * 2 / 5, []int{3, 1, 2}},
		{"much later", enough * 2, []int{3, 2, 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(Config{InFlight: 1, Wait: wait})
			var places []*Place
			var told []<-chan error
			for range 4 {
				p := enter(t, g, "a", true, 0)
				places, told = append(places, p), append(told, begin(g, p))
			}
			<-told[0]
			g.mu.Lock()
			g.pace.mean = tc.turns
			g.mu.Unlock()
			now := 0
			for _, next := range tc.want {
				g.mu.Lock()
				g.pace.last = time.Now().Add(-tc.turns)
				g.mu.Unlock()
				places[now].Leave()
				select {
				case err := <-told[next]:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(time.Minute):
					t.Fatalf("%d has no turn, which was next of %v", next, tc.want)
				}
				now = next
			}
			places[now].Leave()
			empty(t, g)
		})
	}
}

// TestWorking has as many pushes judged at once as may be, and more of them in flight.
func TestWorking(t *testing.T) {
	g := New(Config{InFlight: 3, Working: 2, Wait: time.Minute})
	var places []*Place
	var told []<-chan error
	for range 5 {
		p := enter(t, g, "a", true, 0)
		places, told = append(places, p), append(told, begin(g, p))
	}
	counts := func(running, working, waiting int) {
		t.Helper()
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.running != running || len(g.working) != working || g.waiting != waiting {
			t.Errorf("%d in flight, %d at work, %d wait; want %d, %d, %d", g.running, len(g.working), g.waiting, running, working, waiting)
		}
	}
	g.mu.Lock()
	g.slicing = true // no slice ends
	g.mu.Unlock()
	<-told[0]
	<-told[1]
	places[0].Rest()
	places[0].Rest() // as if once
	<-told[2]
	counts(3, 2, 2)
	places[1].Rest()
	counts(3, 1, 2) // no more may be in flight
	places[1].Resume()
	places[1].Resume() // as if once
	counts(3, 2, 2)
	places[0].Resume()
	counts(3, 3, 2) // who was begun waits for nobody
	places[1].Rest()
	counts(3, 2, 2)
	places[0].Leave()
	<-told[3]
	counts(3, 2, 1)
	for _, i := range []int{1, 2, 3} {
		places[i].Leave()
	}
	<-told[4]
	places[4].Leave()
	empty(t, g)
}

// TestSlice has those that wait go on beside who works for long, and nobody wait for good.
func TestSlice(t *testing.T) {
	g := New(Config{InFlight: 2, Working: 1, Wait: time.Hour})
	long, short := enter(t, g, "long", true, 0), enter(t, g, "short", true, 0)
	<-begin(g, long)
	if err := <-begin(g, short); err != nil {
		t.Fatal(err)
	}
	short.Leave()
	long.Leave()
	empty(t, g)
}

// TestBytes holds bodies to the limit, and a job to what it leaves the others.
func TestBytes(t *testing.T) {
	for _, tc := range []struct {
		name       string
		held, more int64 // of the same job
		other      int64 // held by another
		want       Reason
	}{
		{"under", 40, 10, 0, 0},
		{"half is the most that one job has", 40, 11, 0, Bytes},
		{"one push may have all", 0, 100, 0, 0},
		{"one byte over all", 0, 101, 0, Bytes},
		{"as much as it leaves to others", 20, 20, 20, 0},
		{"more than it leaves", 20, 21, 20, Bytes},
		{"the rest, for who has nothing", 0, 50, 50, 0},
		{"more than the rest", 0, 51, 50, Bytes},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := New(Config{Bytes: 100})
			if tc.other > 0 {
				enter(t, g, "other", true, tc.other)
			}
			if tc.held > 0 {
				enter(t, g, "a", true, tc.held)
			}
			if err := g.Enter(new(Place), "a", true, tc.more); reason(err) != tc.want {
				t.Errorf("entering: %v, want %v", err, tc.want)
			}
		})
		t.Run(tc.name+", growing", func(t *testing.T) {
			g := New(Config{Bytes: 100})
			if tc.other > 0 {
				enter(t, g, "other", true, tc.other)
			}
			enter(t, g, "a", true, tc.held)
			if err := enter(t, g, "a", true, 0).Grow(tc.more); reason(err) != tc.want {
				t.Errorf("growing: %v, want %v", err, tc.want)
			}
		})
	}
}

// TestAFloodWaitsBehindItself has one job send twice what may wait, jobs that nobody knows
// some, and ten others one push each: every one of the ten is served
// before the flood's next turn, and nobody else is shed.
func TestAFloodWaitsBehindItself(t *testing.T) {
	const inFlight, others, waiting = 4, 10, 4 * waitingShare
	g := New(Config{InFlight: inFlight, Working: inFlight, Wait: time.Minute})
	shed := map[string]int{}
	var there []*sent
	send := func(job string, known bool) {
		p := new(Place)
		if g.Enter(p, job, known, 1) != nil {
			shed[job]++
			return
		}
		there = append(there, &sent{job: job, place: p, told: begin(g, p)})
	}
	for range 2 * waiting {
		send("flood", true)
	}
	for range inFlight {
		send("invented", false)
	}
	for i := range others {
		send(fmt.Sprint("small-", i), true)
	}
	order := serve(t, g, there, shed)
	if want := map[string]int{"flood": waiting - inFlight + others, "invented": inFlight}; !maps.Equal(shed, want) {
		t.Errorf("shed: %v, want %v", shed, want)
	}
	if len(order) != inFlight+waiting {
		t.Fatalf("%d were served: %v", len(order), order)
	}
	if i := slices.Index(order[inFlight:inFlight+others], "flood"); i >= 0 {
		t.Errorf("turn %d went to the flood before all others were served: %v", i, order[inFlight:])
	}
	empty(t, g)
}

// sent is a push that has a place.
type sent struct {
	job   string
	place *Place
	told  <-chan error
}

// serve has one push leave after the other, and returns the jobs in the order in which
// they had their turns.
func serve(t *testing.T, g *Gate, there []*sent, shed map[string]int) (order []string) {
	t.Helper()
	var running []*sent
	for len(there) > 0 || len(running) > 0 {
		for i := 0; i < len(there); i++ {
			select {
			case err := <-there[i].told:
				if err != nil {
					shed[there[i].job]++
					there[i].place.Leave()
				} else {
					order, running = append(order, there[i].job), append(running, there[i])
				}
				there = slices.Delete(there, i, i+1)
				i--
			default:
			}
		}
		g.mu.Lock()
		settled := g.running == len(running) && g.waiting == len(there)
		g.mu.Unlock()
		if settled && len(running) > 0 {
			running[0].place.Leave()
			running = running[1:]
		}
	}
	return order
}

// TestKnownFirst has a turn go to a job that is known before those that are not.
func TestKnownFirst(t *testing.T) {
	g := New(Config{InFlight: 2, Working: 2, Wait: time.Minute})
	a, b := enter(t, g, "x", false, 0), enter(t, g, "y", false, 0)
	<-begin(g, a)
	<-begin(g, b)
	stranger, known := enter(t, g, "z", false, 0), enter(t, g, "job", true, 0)
	late, soon := begin(g, stranger), begin(g, known)
	a.Leave()
	if err := <-soon; err != nil {
		t.Error(err)
	}
	select {
	case <-late:
		t.Error("a job that is not known came first")
	default:
	}
	known.Leave()
	if err := <-late; err != nil {
		t.Error(err)
	}
	b.Leave()
	stranger.Leave()
	empty(t, g)
}

// TestNowAndThenFirst has a job that pushes now and then go before one that always has a
// push waiting, and came first.
func TestNowAndThenFirst(t *testing.T) {
	g := New(Config{InFlight: 1, Wait: time.Minute})
	first, flood, small := enter(t, g, "flood", true, 0), enter(t, g, "flood", true, 0), enter(t, g, "small", true, 0)
	between := enter(t, g, "between", true, 0)
	<-begin(g, first)
	late := begin(g, flood)
	next := begin(g, between)
	first.Leave()
	<-next
	soon := begin(g, small)
	between.Leave()
	if err := <-soon; err != nil {
		t.Error(err)
	}
	select {
	case <-late:
		t.Error("the flood came first")
	default:
	}
	small.Leave()
	<-late
	flood.Leave()
	empty(t, g)
}

// runs reports whether a push has its turn.
func (g *Gate) runs(p *Place) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return p.running
}

// TestGate does anything in any order: no limit is ever passed, and in the end nothing is
// left behind.
func TestGate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cfg := Config{InFlight: rapid.IntRange(1, 3).Draw(t, "in flight"), Working: rapid.IntRange(1, 3).Draw(t, "at work"), Bytes: 100, Wait: time.Minute}
		g := New(cfg)
		type push struct {
			place *Place
			told  <-chan error
		}
		var pushes []push
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				p := push{place: new(Place)}
				job := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "job")
				if g.Enter(p.place, job, rapid.Bool().Draw(t, "known"), rapid.Int64Range(0, 60).Draw(t, "bytes")) == nil {
					p.told = begin(g, p.place)
					pushes = append(pushes, p)
				}
			},
			"rest": func(t *rapid.T) {
				if len(pushes) > 0 { // one that waits gives up nothing
					rapid.SampledFrom(pushes).Draw(t, "push").place.Rest()
				}
			},
			"resume": func(t *rapid.T) {
				for _, p := range pushes {
					if g.runs(p.place) {
						p.place.Resume()
						return
					}
				}
			},
			"leave": func(t *rapid.T) {
				for i, p := range pushes {
					select {
					case <-p.told:
						p.place.Leave()
						pushes = append(pushes[:i], pushes[i+1:]...)
						return
					default:
					}
				}
			},
			"": func(t *rapid.T) {
				g.mu.Lock()
				defer g.mu.Unlock()
				if g.running > cfg.InFlight || g.waiting > waitingShare*cfg.InFlight || g.bytes > cfg.Bytes || g.bytes < 0 {
					t.Fatalf("%d at work, %d wait, %d bytes", g.running, g.waiting, g.bytes)
				}
				if g.waiting > 0 && g.free() {
					t.Fatalf("%d wait, and only %d are in flight, %d at work", g.waiting, g.running, len(g.working))
				}
				for i, p := range g.working {
					if p.working != i+1 || !p.running {
						t.Fatalf("place %d of those at work takes itself for %d, in flight: %v", i+1, p.working, p.running)
					}
				}
				for _, l := range g.lines.all {
					if waits := l.known && l.running == 0 && len(l.queue) > 0; waits != (l.idle != 0) {
						t.Fatalf("line %q waits: %v, and is in the list: %v", l.name, waits, l.idle != 0)
					}
				}
			},
		})
		for _, p := range pushes { // whoever leaves gives its turn to one that waits
			go func() { <-p.told; p.place.Leave() }()
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			g.mu.Lock()
			left := g.running + g.waiting + len(g.lines.all)
			g.mu.Unlock()
			if left == 0 {
				return
			}
			if time.Now().After(deadline) {
				t.Fatal("pushes are left behind")
			}
		}
	})
}

// BenchmarkGate is what a push pays where nothing is at its limit.
func BenchmarkGate(b *testing.B) {
	g := New(Config{InFlight: 64, Bytes: 1 << 30})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		var p Place
		for pb.Next() {
			if g.Enter(&p, "nightly", true, 1000) != nil || p.Start(b.Context()) != nil {
				b.Error("shed")
			}
			p.Leave()
		}
	})
}
