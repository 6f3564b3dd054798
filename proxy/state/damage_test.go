package state

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// logOf makes a log of one generation and returns its file, and where each of
// its frames begins; the last is where the file ends.
func logOf(t *testing.T, dir string, records ...string) (path string, begins []int) {
	t.Helper()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	at := headerLen
	for _, r := range records {
		begins = append(begins, at)
		commit(t, l, r)
		at += frameLen + 1 + len(r)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return in(dir, "ledger.1.log"), append(begins, at)
}

// TestAFlippedByteCostsItsRecord flips each byte of a log in turn.
func TestAFlippedByteCostsItsRecord(t *testing.T) {
	made := t.TempDir()
	records := []string{"first", "second", "third"}
	path, begins := logOf(t, made, records...)
	whole := read(t, path)
	for i := range whole {
		dir := t.TempDir()
		write(t, in(dir, versionName), []byte(versionText))
		b := bytes.Clone(whole)
		b[i] ^= 0x10
		write(t, in(dir, "ledger.1.log"), b)
		hit := -1
		for n := range records {
			if i >= begins[n] && i < begins[n+1] {
				hit = n
			}
		}
		var left []string
		for n, r := range records {
			if n != hit {
				left = append(left, r)
			}
		}
		got, damage := restored(t, dir, "ledger")
		want(t, got, left...)
		if i < headerLen {
			wantDamage(t, dir, damage, whole[:headerLen], b[:headerLen])
		} else {
			wantDamage(t, dir, damage, whole[begins[hit]:begins[hit+1]], b[begins[hit]:begins[hit+1]])
		}
	}
}

// wantDamage expects one damage, of bytes that once were others.
func wantDamage(t *testing.T, dir string, damage []Damage, was, now []byte) {
	t.Helper()
	if len(damage) != 1 {
		t.Fatalf("damage: %v", damage)
	}
	g := damage[0]
	if g.File != in(dir, "ledger.1.log") || g.SetAside != in(dir, "ledger.1.log.damaged") || g.Places != 1 || g.Bytes != int64(len(now)) || g.Early || g.Err != nil {
		t.Fatalf("damage: %v", g)
	}
	if got := read(t, g.SetAside); !bytes.Equal(got, now) {
		t.Fatalf("set aside: %q, want %q, which was %q", got, now, was)
	}
	wantMode(t, g.SetAside, fileMode)
}

// TestATornTail cuts a log at each byte.
func TestATornTail(t *testing.T) {
	made := t.TempDir()
	records := []string{"first", "second", "third"}
	path, begins := logOf(t, made, records...)
	whole := read(t, path)
	for i := range whole {
		dir := t.TempDir()
		write(t, in(dir, versionName), []byte(versionText))
		write(t, in(dir, "ledger.1.log"), whole[:i])
		n, end := 0, 0
		if i >= headerLen {
			end = headerLen
		}
		for n < len(records) && begins[n+1] <= i {
			end = begins[n+1]
			n++
		}
		got, damage := restored(t, dir, "ledger")
		if len(got) != n {
			t.Fatalf("cut at %d: %q", i, got)
		}
		if end == i {
			if i == 0 && len(damage) == 1 && damage[0].Early {
				continue
			}
			if len(damage) > 0 || i == 0 {
				t.Fatalf("cut at %d: %v", i, damage)
			}
			continue
		}
		wantDamage(t, dir, damage, whole[end:], whole[end:i])
	}
}

// TestDamageLastsUntilACompaction and is the same at each start before it.
func TestDamageLastsUntilACompaction(t *testing.T) {
	dir := t.TempDir()
	path, begins := logOf(t, dir, "first", "second", "third")
	b := read(t, path)
	b[begins[1]+frameLen] ^= 1
	b = append(b, "torn"...)
	write(t, path, b)
	aside := string(b[begins[1]:begins[2]]) + "torn"
	for range 3 {
		d := open(t, dir, Options{})
		l, got := openLog(t, d, "ledger", LogOptions{})
		want(t, got, "first", "third")
		<-l.Due()
		g := d.Damage()
		if len(g) != 1 || g[0].Places != 2 || string(read(t, g[0].SetAside)) != aside {
			t.Fatalf("damage: %v", g)
		}
		for _, part := range []string{path + ": ", fmt.Sprintf("%d bytes in 2 places", len(aside)), "set aside in " + path + damaged} {
			if !strings.Contains(g[0].String(), part) {
				t.Errorf("%q does not say %q", g[0], part)
			}
		}
		_ = d.Close()
	}
	d := open(t, dir, Options{})
	l, got := openLog(t, d, "ledger", LogOptions{})
	if err := l.Compact(emits(got...)); err != nil {
		t.Fatal(err)
	}
	if needsCompact(l) {
		t.Error("a compaction is due")
	}
	_ = d.Close()
	got, damage := restored(t, dir, "ledger")
	want(t, got, "first", "third")
	if len(damage) > 0 || string(read(t, path+damaged)) != aside {
		t.Errorf("damage: %v", damage)
	}
}

// TestADamagedHeader costs nothing but itself, though no other file has one.
func TestADamagedHeader(t *testing.T) {
	dir := t.TempDir()
	path, _ := logOf(t, dir, "first", "second")
	b := read(t, path)
	clear(b[:headerLen])
	write(t, path, b)
	d := open(t, dir, Options{})
	l, got := openLog(t, d, "ledger", LogOptions{})
	want(t, got, "first", "second")
	commit(t, l, "third")
	_ = d.Close()
	for range 2 { // what the start before wrote must go by the same mark
		got, damage := restored(t, dir, "ledger")
		want(t, got, "first", "second", "third")
		wantDamage(t, dir, damage, nil, b[:headerLen])
	}
}

// TestTheMarkIsKept over starts and compactions, so that a file whose beginning
// is lost can be read by what the others say.
func TestTheMarkIsKept(t *testing.T) {
	dir := t.TempDir()
	path, begins := logOf(t, dir, "first", "second")
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	commit(t, l, "third")
	_ = d.Close()
	b := read(t, path)
	clear(b[:begins[1]])
	write(t, path, b)
	got, damage := restored(t, dir, "ledger")
	want(t, got, "second", "third")
	wantDamage(t, dir, damage, nil, b[:begins[1]])
}

func TestAFileThatIsAllDamage(t *testing.T) {
	for name, b := range map[string][]byte{
		"zeros":   make([]byte, 1<<20),
		"garbage": bytes.Repeat([]byte("garbage\n"), 1<<15),
		"short":   []byte("x"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, in(dir, versionName), []byte(versionText))
			write(t, in(dir, "ledger.1.log"), b)
			got, damage := restored(t, dir, "ledger")
			want(t, got)
			wantDamage(t, dir, damage, nil, b)
		})
	}
}

func TestASnapshotWithoutItsEnd(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	if err := l.Compact(emits("a", "b")); err != nil {
		t.Fatal(err)
	}
	commit(t, l, "c")
	_ = d.Close()
	path := in(dir, "ledger.2.snapshot")
	b := read(t, path)
	write(t, path, b[:len(b)-frameLen])
	d = open(t, dir, Options{})
	l, got := openLog(t, d, "ledger", LogOptions{})
	want(t, got, "a", "b", "c")
	g := d.Damage()
	if len(g) != 1 || !g[0].Early || g[0].File != path || g[0].Bytes != 0 || !strings.Contains(g[0].String(), "the end is missing") {
		t.Errorf("damage: %v", g)
	}
	if !needsCompact(l) {
		t.Error("no compaction is due")
	}
}

// TestDamageThatCannotBeSetAside keeps the whole file instead.
func TestDamageThatCannotBeSetAside(t *testing.T) {
	dir := t.TempDir()
	path, _ := logOf(t, dir, "first", "second")
	b := append(read(t, path), "torn"...)
	write(t, path, b)
	if err := os.MkdirAll(in(path+damaged+tmp, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := open(t, dir, Options{})
	l, got := openLog(t, d, "ledger", LogOptions{})
	want(t, got, "first", "second")
	g := d.Damage()
	if len(g) != 1 || g[0].Err == nil || g[0].SetAside != "" || !strings.Contains(g[0].String(), "not set aside: ") {
		t.Fatalf("damage: %v", g)
	}
	if err := l.Compact(emits("all")); err != nil {
		t.Fatal(err)
	}
	g = d.Damage()
	if len(g) != 1 || g[0].Err != nil || string(read(t, g[0].SetAside)) != string(b) {
		t.Errorf("damage: %v", g)
	}
	_ = d.Close()
	got, damage := restored(t, dir, "ledger")
	want(t, got, "all")
	if len(damage) > 0 {
		t.Error(damage)
	}
}

// TestAFrameInAFrame is what somebody who can write into a record, and can have
// its end torn off, would try.
func TestAFrameInAFrame(t *testing.T) {
	dir := t.TempDir()
	var guess mark
	copy(guess[:], "guessed!")
	inner := string(guess.appendFrame(nil, []byte("forged")))
	path, begins := logOf(t, dir, "first", strings.Repeat(inner, 3))
	b := read(t, path)
	write(t, path, b[:len(b)-1])
	got, damage := restored(t, dir, "ledger")
	want(t, got, "first")
	wantDamage(t, dir, damage, nil, b[begins[1]:len(b)-1])
}

// TestManyPlacesOfDamage are not told apart without bound, and nothing of them
// is lost.
func TestManyPlacesOfDamage(t *testing.T) {
	dir := t.TempDir()
	const n = 2*maxSpans + 100
	d := open(t, dir, Options{})
	l, _ := openLog(t, d, "ledger", LogOptions{})
	for range n {
		l.Append([]byte("r"))
	}
	commit(t, l, "last")
	_ = d.Close()
	path := in(dir, "ledger.1.log")
	b := read(t, path)
	for i := 0; i < n; i += 2 {
		b[headerLen+i*(frameLen+2)+frameLen+1] ^= 1
	}
	write(t, path, b)
	got, damage := restored(t, dir, "ledger")
	if len(got) != n/2+1 || got[n/2] != "last" {
		t.Errorf("%d records", len(got))
	}
	if len(damage) != 1 || damage[0].Places != maxSpans {
		t.Fatalf("damage: %v", damage)
	}
	aside := read(t, damage[0].SetAside)
	for i := 0; i < n; i += 2 {
		at := headerLen + i*(frameLen+2)
		if !bytes.Contains(aside, b[at:at+frameLen+2]) {
			t.Fatalf("record %d is not set aside", i)
		}
	}
}
