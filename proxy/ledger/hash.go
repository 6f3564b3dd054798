package ledger

import (
	"crypto/rand"
	"encoding/binary"

	"github.com/dchest/siphash"
)

// hashKey is the key of the hashes that stand for names.
type hashKey struct{ k0, k1 uint64 }

// newHashKey returns the key that a secret makes; zero is a random one.
func newHashKey(secret [16]byte) hashKey {
	if secret == [16]byte{} {
		_, _ = rand.Read(secret[:]) // never fails
	}
	return hashKey{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// hash is SipHash-2-4, never 0.
func (k hashKey) hash(s string) uint64 {
	var room [128]byte
	if h := siphash.Hash(k.k0, k.k1, append(room[:0], s...)); h != 0 {
		return h
	}
	return 1 // 0 is the unknown writer
}

// check tells the key from others.
func (k hashKey) check() uint64 { return k.hash("the key of this ledger") }
