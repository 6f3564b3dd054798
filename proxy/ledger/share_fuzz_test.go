package ledger

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/shared"
)

// sharedAlone is a book as guards share it, without a log.
func sharedAlone() *Book {
	now := time.Unix(1_700_000_000, 0)
	b := NewBook(Config{Now: func() time.Time { return now }})
	b.shared = newSharing()
	return b
}

// command is a claim as a guard puts it into the order.
func command(b *Book, c Claim, n uint64) []byte {
	body := binary.AppendUvarint([]byte{cmdAdmit}, n)
	return b.appendClaim(binary.AppendVarint(body, int64(time.Second)), &c, writer(b.hash(c.Raw.ID())), 0)
}

// FuzzSharedCommands carries out any two commands, as if the Redis had them from another
// guard: what a book then knows is what one knows that restores it.
func FuzzSharedCommands(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range uint64(8) {
		f.Add(command(sharedAlone(), randomClaim(r), n), append(binary.AppendUvarint([]byte{cmdSettle}, n), byte(Applied)))
	}
	for _, cmd := range []byte{cmdBegin, cmdListed, cmdListedEnd, cmdWipe, cmdTerms, cmdTurnTotals} {
		f.Add([]byte{cmdBegin, 1}, []byte{cmd, 1})
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		b := sharedAlone()
		for n, body := range [][]byte{first, second} {
			room{b}.Apply(shared.Entry{Guard: "another", At: time.Unix(1_700_000_000+int64(n), 0), Body: body})
		}
		restoresTheSame(t, room{b}.Save(nil))
	})
}

// FuzzSharedSnapshot restores anything, as if the Redis had it: an error, or a book that
// can be used.
func FuzzSharedSnapshot(f *testing.F) {
	b, r := sharedAlone(), rand.New(rand.NewPCG(3, 4))
	f.Add(room{b}.Save(nil))
	for n := range uint64(20) {
		room{b}.Apply(shared.Entry{Guard: "another", At: time.Unix(1_700_000_000, 0), Body: command(b, randomClaim(r), n)})
		f.Add(room{b}.Save(nil))
	}
	f.Fuzz(func(t *testing.T, saved []byte) {
		b := sharedAlone()
		if b.restore(saved) == nil {
			room{b}.Apply(shared.Entry{Guard: "another", At: time.Unix(1_700_000_000, 0), Body: command(b, randomClaim(rand.New(rand.NewPCG(5, 6))), 1)})
			room{b}.Save(nil)
		}
	})
}

func restoresTheSame(t *testing.T, saved []byte) {
	t.Helper()
	b := sharedAlone()
	if err := b.restore(saved); err != nil {
		t.Fatalf("what was saved cannot be restored: %v\n%q", err, saved)
	}
	if again := (room{b}).Save(nil); string(again) != string(saved) {
		t.Fatalf("%q was restored, and saved as %q", saved, again)
	}
}
