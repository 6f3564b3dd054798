package state

import (
	"testing"
)

func TestLogIsRestoredInOrder(t *testing.T) {
	for _, s := range []Sync{SyncInterval, SyncAlways, SyncNever} {
		t.Run(s.String(), func(t *testing.T) {
			dir := t.TempDir()
			d := open(t, dir, Options{Sync: s})
			l, got := openLog(t, d, "ledger", LogOptions{})
			want(t, got)
			commit(t, l, "a", "", "b")
			commit(t, l, "c")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d = open(t, dir, Options{Sync: s})
			l, got = openLog(t, d, "ledger", LogOptions{})
			want(t, got, "a", "", "b", "c")
			commit(t, l, "d")
			if err := l.Compact(emits("x", "y")); err != nil {
				t.Fatal(err)
			}
			commit(t, l, "z")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			got, damage := restored(t, dir, "ledger")
			want(t, got, "x", "y", "z")
			if len(damage) > 0 {
				t.Errorf("damage: %v", damage)
			}
		})
	}
}
