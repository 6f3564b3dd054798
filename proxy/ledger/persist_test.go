package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/proxy/state"
)

var secret = [16]byte{1, 2, 3}

// keptBook is a book in a directory that can be closed and opened again.
type keptBook struct {
	*Book
	found Restored
	t     testing.TB
	path  string
	dir   *state.Dir
	clock *hand
}

func openKept(t testing.TB, path string, clock *hand) *keptBook {
	t.Helper()
	k := &keptBook{t: t, path: path, clock: clock}
	k.open(secret)
	t.Cleanup(func() { _ = k.dir.Close() })
	return k
}

func (k *keptBook) open(secret [16]byte) {
	k.t.Helper()
	var err error
	if k.dir, err = state.Open(context.Background(), k.path, state.Options{Sync: state.SyncNever}); err != nil {
		k.t.Fatal(err)
	}
	if k.Book, k.found, err = Open(k.dir, Config{Secret: secret, Now: k.clock.read}); err != nil {
		k.t.Fatal(err)
	}
}

func (k *keptBook) close() {
	k.t.Helper()
	if err := k.dir.Close(); err != nil {
		k.t.Fatal(err)
	}
}

// lines tells all that a book has to keep.
func (b *Book) lines() []string {
	var out []string
	for _, table := range []map[string]*group{b.groups, b.totals} {
		for _, g := range table {
			for ; g != nil; g = g.twin {
				out = append(out, fmt.Sprintf("group %s of %s, %v, last %x, at %d, %d, %v%v%v%v, %v",
					g.key(), g.job.name, g.content, g.last, max(g.at, g.kept), g.slack, g.exists, g.unsure, g.failed, g.success, g.sums != nil))
			}
		}
	}
	account := func(a *account, of string) {
		if hours, days := a.hour.sum(hour, b.clock.at), a.day.sum(day, b.clock.at); hours+days > 0 || of == "idle" {
			out = append(out, fmt.Sprintf("%s %s, %d an hour, %d a day", of, a.name, hours, days))
		}
	}
	for _, j := range b.jobs {
		account(j.account, "job")
		values := slices.Sorted(maps.Keys(maps.Collect(j.values.all())))
		out = append(out, fmt.Sprintf("job %s holds %d, %d groups, values %v, distinct %v", j.name, j.series, j.groups, values, j.values.labels.counts()))
	}
	for _, a := range b.idles.accounts {
		account(a, "idle")
		out = append(out, fmt.Sprintf("idle %s, seen %d", a.name, a.seen))
	}
	for id, e := range b.entries {
		if n := e.newJobs.sum(day, b.clock.at); n > 0 {
			out = append(out, fmt.Sprintf("entry %d, %d new jobs", id, n))
		}
	}
	out = append(out, fmt.Sprintf("%d series, %d slack, %d groups, %d families", b.series, b.slack, b.size, len(b.families)))
	slices.Sort(out)
	return out
}

// eventful is a book in which everything has happened that is kept.
func eventful(t *testing.T, k *keptBook) {
	histogram := push(http.MethodPut, key("job", "h", "instance", ""), Budget{}, "a", "b")
	histogram.Metrics[1].Samples = 7
	histogram.Families = append(histogram.Families, "y", "z")
	histogram.Success, histogram.Entry = []int32{0}, 3
	admit(t, k.Book, histogram).Settle(Applied)
	folded := push(http.MethodPost, group1, Budget{}, "a")
	for i, raw := range []string{"one", "two"} {
		folded.Raw, folded.Job, folded.Families = key("job", raw), "folded", []string{"x", raw}
		folded.bring(1, int32(i+1), "w", raw)
		admit(t, k.Book, folded).Settle(Applied)
	}
	k.clock.wait(time.Hour)
	unsure := push(http.MethodPut, key("job", "u"), Budget{}, "a", "b", "c")
	admit(t, k.Book, unsure).Settle(Applied)
	unsure.Metrics = unsure.Metrics[:1]
	admit(t, k.Book, unsure).Settle(Unknown)
	admit(t, k.Book, push(http.MethodPut, key("job", "f"), Budget{}, "a")).Settle(Refused)
	admit(t, k.Book, push(http.MethodPut, key("job", "never"), Budget{}, "a")).Settle(Untouched)
	gone := push(http.MethodPut, key("job", "gone"), Budget{}, "a")
	gone.Entry = 3
	admit(t, k.Book, gone).Settle(Applied)
	k.clock.wait(time.Minute)
	admit(t, k.Book, Claim{Group: gone.Group, Raw: gone.Raw, Method: http.MethodDelete}).Settle(Applied)
	totals := push(http.MethodPost, group1, Budget{}, "s", "t")
	totals.Totals = true
	admit(t, k.Book, totals).Settle(Applied)
	k.clock.wait(time.Minute)
	load(t, k.Book, Group{Key: histogram.Group, Job: "h", Families: named("x", "listed")},
		Group{Key: group1, Job: "moved"}, Group{Key: unsure.Group}, Group{Key: key("job", "f")}, Group{Key: key("job", "l")})
	admit(t, k.Book, push(http.MethodPut, unsure.Group, Budget{}, "a", "d")).Settle(Unknown)
}

func TestRestored(t *testing.T) {
	for name, meanwhile := range map[string]func(*keptBook){
		"from the log":      func(*keptBook) {},
		"from a compaction": func(k *keptBook) { compact(t, k) },
		"from both": func(k *keptBook) {
			compact(t, k)
			admit(t, k.Book, push(http.MethodPut, key("job", "later"), Budget{}, "a")).Settle(Applied)
			k.Wipe()
			admit(t, k.Book, push(http.MethodPut, key("job", "later still"), Budget{}, "b")).Settle(Applied)
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := openKept(t, t.TempDir(), newHand())
			eventful(t, k)
			meanwhile(k)
			want := k.lines()
			for range 2 {
				k.close()
				k.clock.wait(time.Second)
				k.open(secret)
				if diff := cmp.Diff(want, k.lines()); diff != "" {
					t.Fatal(diff)
				}
			}
			if k.found != (Restored{Groups: k.Len(), Series: k.Series()}) {
				t.Errorf("%+v", k.found)
			}
		})
	}
}

func compact(t testing.TB, k *keptBook) {
	t.Helper()
	if err := k.Compact(); err != nil {
		t.Fatal(err)
	}
}

func (k *keptBook) logSize(t *testing.T) int64 {
	t.Helper()
	if err := k.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k.filesSize(".log")
}

// filesSize is how many bytes the files of the book have that end so.
func (k *keptBook) filesSize(end string) (n int64) {
	k.t.Helper()
	files, err := filepath.Glob(filepath.Join(k.path, logName+".*"+end))
	if err != nil {
		k.t.Fatal(err)
	}
	for _, path := range files {
		if info, err := os.Stat(path); err == nil { // it may have gone meanwhile
			n += info.Size()
		}
	}
	return n
}

// TestAPushThatChangesNothingWritesItsTime once a minute.
func TestAPushThatChangesNothingWritesItsTime(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	claim := push(http.MethodPut, group1, Budget{}, numbered(100)...)
	admit(t, k.Book, claim).Settle(Applied)
	size := k.logSize(t)
	for range 60 {
		k.clock.wait(time.Second)
		admit(t, k.Book, claim).Settle(Applied)
	}
	if got := k.logSize(t); got != size {
		t.Errorf("%d bytes were written within a minute", got-size)
	}
	k.clock.wait(time.Second)
	admit(t, k.Book, claim).Settle(Applied)
	if got := k.logSize(t) - size; got == 0 || got > 100 {
		t.Errorf("%d bytes were written after a minute", got)
	}
	size = k.logSize(t)
	admit(t, k.Book, claim).Settle(Applied)
	if got := k.logSize(t); got != size {
		t.Errorf("%d bytes were written within the next", got-size)
	}
}

// TestTheOldestGoesAfterARestart, too, where all were pushed to within a minute.
func TestTheOldestGoesAfterARestart(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	budget := Budget{Groups: 3}
	for _, c := range []Claim{nth(0, 1, budget), nth(1, 1, budget), nth(2, 1, budget), nth(0, 2, budget)} {
		admit(t, k.Book, c).Settle(Applied)
		k.clock.wait(time.Second)
	}
	k.close()
	k.open(secret)
	for n := range 3 {
		g := admit(t, k.Book, nth(3+n, 1, budget))
		wantEvicts(t, g.Ruling, (1+n)%3)
		g.Settle(Applied)
		admit(t, k.Book, evicting(g.Evict[0])).Settle(Applied)
	}
}

// TestAGroupThatMovesIsWritten has another job pay for what stays as it is.
func TestAGroupThatMovesIsWritten(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	claim := push(http.MethodPut, group1, Budget{}, "a")
	admit(t, k.Book, claim).Settle(Applied)
	claim.Job = "folded"
	admit(t, k.Book, claim).Settle(Applied)
	want := k.lines()
	k.close()
	k.open(secret)
	if diff := cmp.Diff(want, k.lines()); diff != "" || k.Held("folded") != 3 {
		t.Error(diff)
	}
}

func TestWhatAnotherSecretHashedIsDropped(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	eventful(t, k)
	admit(t, k.Book, push(http.MethodPut, group1, Budget{}, "new")).Settle(Applied)
	groups := k.Len()
	job, _ := k.Job("u", 0)
	k.close()
	k.open([16]byte{9})
	if k.found.Foreign < groups || k.found.Groups != 0 || k.Len() != 0 {
		t.Errorf("%+v, there were %d groups", k.found, groups)
	}
	if got, _ := k.Job("u", 0); got.NewThisDay != job.NewThisDay || got.NewThisDay == 0 {
		t.Errorf("%d are new, want %d", got.NewThisDay, job.NewThisDay)
	}
	admit(t, k.Book, push(http.MethodPut, group1, Budget{}, "new")).Settle(Applied)
	want := k.lines()
	k.close()
	k.open([16]byte{9})
	if diff := cmp.Diff(want, k.lines()); diff != "" || k.found.Groups != 1 {
		t.Errorf("%+v, %s", k.found, diff)
	}
}

// TestStartsLeaveNoFiles has a guard end again and again before it does anything.
func TestStartsLeaveNoFiles(t *testing.T) {
	path := t.TempDir()
	k := openKept(t, path, newHand())
	admit(t, k.Book, push(http.MethodPut, group1, Budget{}, "a")).Settle(Applied)
	for range 20 {
		k.close()
		k.open(secret)
	}
	if logs, err := filepath.Glob(filepath.Join(path, "ledger.*")); err != nil || len(logs) > 2 || k.Len() != 1 {
		t.Errorf("%d groups, %q, %v", k.Len(), logs, err)
	}
}

func TestWhatIsDamagedIsMissing(t *testing.T) {
	path := t.TempDir()
	k := openKept(t, path, newHand())
	for n := range 100 {
		admit(t, k.Book, push(http.MethodPut, groupOf("j", n).Group, Budget{}, "a")).Settle(Applied)
	}
	k.close()
	logs, err := filepath.Glob(filepath.Join(path, "ledger.*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatal(logs, err)
	}
	whole, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	for at := 64; at < len(whole); at += len(whole)/40 + 1 {
		for name, damaged := range map[string][]byte{
			"torn":    whole[:at],
			"changed": slices.Concat(whole[:at], []byte{whole[at] ^ 4}, whole[at+1:]),
			"zeroed":  slices.Concat(whole[:at], make([]byte, min(200, len(whole)-at)), whole[min(at+200, len(whole)):]),
		} {
			other := t.TempDir()
			for _, file := range []string{"VERSION", filepath.Base(logs[0])} {
				content := damaged
				if file == "VERSION" {
					if content, err = os.ReadFile(filepath.Join(path, file)); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(filepath.Join(other, file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			r := openKept(t, other, k.clock)
			// That of the key, at the beginning, takes no group along.
			least := map[string]int{"torn": min(100, (at-300)*100/len(whole)), "changed": 99, "zeroed": 95}[name]
			if r.Len() < least || r.Len() > 100 || r.Series() != 3*r.Len() {
				t.Errorf("%s at %d of %d: %d groups of %d series", name, at, len(whole), r.Len(), r.Series())
			}
			r.close()
		}
	}
}

func TestRecordsOfANewerVersionAreRefused(t *testing.T) {
	path := t.TempDir()
	dir, err := state.Open(t.Context(), path, state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	log, err := dir.Log(logName, state.LogOptions{}, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	log.Append([]byte("Z from the future"))
	if err := dir.Close(); err != nil {
		t.Fatal(err)
	}
	if dir, err = state.Open(t.Context(), path, state.Options{}); err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, _, err := Open(dir, Config{}); !errors.Is(err, errRecord) {
		t.Errorf("Open = %v", err)
	}
}

// TestAClockSetBackBetweenStarts neither refills windows nor makes groups of the
// future.
func TestAClockSetBackBetweenStarts(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	budget := Budget{NewSeriesPerHour: 5, NewSeriesPerDay: 5}
	admit(t, k.Book, push(http.MethodPut, group1, budget, "a", "b", "c")).Settle(Applied)
	for _, back := range []time.Duration{time.Hour, 30 * 24 * time.Hour} {
		k.close()
		k.clock.wait(-back)
		k.open(secret)
		if r, _ := k.Job("j", 1); r.NewThisHour != 5 || r.NewThisDay != 5 || r.OldestPush.After(k.clock.now) {
			t.Errorf("%v back: %+v, it is %v", back, r.JobUse, k.clock.now)
		}
	}
	k.clock.wait(25 * time.Hour) // it goes on from there
	if r, _ := k.Job("j", 0); r.NewThisDay != 0 {
		t.Errorf("%+v", r)
	}
}

// TestALargeListingIsLeftToACompaction changes more at once than the log takes.
func TestALargeListingIsLeftToACompaction(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.Run(func(err error) { t.Error(err) })
	}()
	groups := make([]Group, 60_000)
	for i := range groups {
		groups[i].Key = key("job", "j", "instance", strings.Repeat("long", 30)+fmt.Sprint(i))
	}
	load(t, k.Book, groups...)
	for k.filesSize(".snapshot") < bulk {
		if err := k.Err(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	if got := k.logSize(t); got > bulk {
		t.Errorf("%d bytes are in the log", got)
	}
	k.close()
	<-done
	k.open(secret)
	if k.Len() != len(groups) {
		t.Errorf("%d groups, want %d", k.Len(), len(groups))
	}
}

func TestABookThatIsNotKept(t *testing.T) {
	b := NewBook(Config{})
	b.Run(func(err error) { t.Error(err) }) // returns
	if err := errors.Join(b.Commit(t.Context()), b.Compact(), b.Err()); err != nil {
		t.Error(err)
	}
}

// TestCompactionsWhilePushesGoOn writes the log anew, again and again, and loses
// nothing.
func TestCompactionsWhilePushesGoOn(t *testing.T) {
	k := openKept(t, t.TempDir(), newHand())
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := k.Compact(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for n := range 3000 {
		c := push(http.MethodPut, groupOf(fmt.Sprint(n%7), n%500).Group, Budget{}, numbered(n%5)...)
		if n%11 == 0 {
			c.Method = http.MethodDelete
		}
		admit(t, k.Book, c).Settle(Applied)
	}
	close(stop)
	<-done
	want := k.lines()
	k.close()
	k.open(secret)
	if diff := cmp.Diff(want, k.lines()); diff != "" {
		t.Error(diff)
	}
}

// TestRecordsThatAreNotWhole cuts a record at each byte, and breaks the order of
// what it holds.
func TestRecordsThatAreNotWhole(t *testing.T) {
	b := newHand().book()
	admit(t, b, push(http.MethodPut, group1, Budget{}, "a", "b")).Settle(Applied)
	g := b.find(group1)
	name, head := g.content[0], g.content[1]
	for what, content := range map[string]holdings{
		"a name alone":           {name},
		"fewer than it says":     g.content[:len(g.content)-1],
		"repeats nothing":        {name, again},
		"the same name twice":    {name, 0, name, 0},
		"names out of order":     {name, 0, name - 1, 0},
		"more than can be there": {name, 1<<63 | head},
	} {
		r := restorer{book: NewBook(Config{})}
		g.content = content
		record := append([]byte{recordGroup}, make([]byte, 2+8+3)...) // no ID, job, writer, time, flags and slack
		record = append(record, byte(len(content)))
		for _, w := range content {
			record = appendWord(record, w)
		}
		if err := r.apply(append(record, 0)); !errors.Is(err, errRecord) || r.book.Len() != 0 {
			t.Errorf("%s: %v, %d groups", what, err, r.book.Len())
		}
	}
	g.content = holdings{}
	whole := [][]byte{
		appendKey(nil, 5), g.appendTo(nil), appendTouched(nil, g), appendGone(nil, g, 300), appendWiped(nil, 300),
		appendAccount(nil, g.job.account, []tick{{300, 2}}, []tick{{3, 1}}), appendEntry(nil, -7, []tick{{1, 2}}),
	}
	for _, record := range whole {
		for n := 1; n < len(record); n++ {
			r := restorer{book: NewBook(Config{})}
			if err := r.apply(record[:n]); !errors.Is(err, errRecord) {
				t.Errorf("%q, %d of its bytes: %v", record, n, err)
			}
		}
	}
}

func FuzzRestore(f *testing.F) {
	k := openKept(f, f.TempDir(), newHand())
	b := k.Book
	g, err := b.Admit(f.Context(), push(http.MethodPut, group1, Budget{}, "a", "b"))
	if err != nil {
		f.Fatal(err)
	}
	g.Settle(Applied)
	group := b.find(group1)
	f.Add(group.appendTo(appendKey(nil, b.hashKey.check())))
	f.Add(appendGone(appendTouched(nil, group), group, 5))
	f.Add(appendWiped(appendAccount(nil, group.job.account, []tick{{1, 2}}, []tick{{3, 0}}), 1))
	f.Add(appendEntry(nil, -7, []tick{{1, 2}, {0, 3}}))
	f.Add([]byte{recordTotals, 1, 2, 3})
	f.Fuzz(func(t *testing.T, record []byte) {
		r := restorer{book: NewBook(Config{Secret: secret})}
		r.book.clock.read()
		prefix := group.appendTo(appendKey(nil, r.book.hashKey.check()))
		if err := r.apply(prefix); err != nil {
			t.Fatal(err)
		}
		if err := r.apply(record); err != nil && !errors.Is(err, errRecord) {
			t.Fatal(err)
		}
		r.finish()
		if grant, err := r.book.Admit(t.Context(), push(http.MethodPut, other, Budget{}, "a")); err == nil {
			grant.Settle(Applied)
		}
		r.book.Jobs(9)
		r.book.Stale(time.Now(), 9)
		r.book.Wipe()
	})
}

// TestListedBesideRestored: a push without an answer is the newest of its job, though a
// guard that was killed under it knows of it from the listing alone, and of the others
// only about when they were pushed to.
func TestListedBesideRestored(t *testing.T) {
	for _, away := range []time.Duration{time.Second, 45 * time.Second, time.Hour} {
		clock := newHand()
		k := openKept(t, t.TempDir(), clock)
		for n := range 3 {
			admit(t, k.Book, nth(n, 1, Budget{})).Settle(Applied)
			clock.wait(10 * time.Second)
		}
		pushed := clock.now
		clock.wait(away)
		k.close()
		k.open(secret)
		var listing []Group
		for n := range 4 {
			listing = append(listing, Group{Key: nth(n, 0, Budget{}).Group, Pushed: pushed.Add(time.Duration(n-3) * 10 * time.Second)})
		}
		if err := k.loadAll(func() ([]Group, error) { return listing, nil }); err != nil {
			t.Fatal(err)
		}
		g := admit(t, k.Book, nth(4, 1, Budget{Groups: 3}))
		wantEvicts(t, g.Ruling, 0, 1)
		g.Settle(Untouched)
		if found, _ := k.Group(listing[3].Key); found.Pushed.Before(pushed) || found.Pushed.After(pushed.Add(touchEvery*time.Second)) {
			t.Errorf("%s later it was pushed to at %v, want %v, or a minute later", away, found.Pushed, pushed)
		}
	}
}
