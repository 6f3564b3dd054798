package ledger

import "testing"

// TestNobodyKnowsTheHashes has the hash of a name be of one book alone, so that nobody can
// find names that meet in it, and of all that are given the same secret.
func TestNobodyKnowsTheHashes(t *testing.T) {
	one, other := NewBook(Config{}), NewBook(Config{})
	if one.hashKey.hash("nightly") == other.hashKey.hash("nightly") {
		t.Error("two books hash a name alike")
	}
	secret := [16]byte{1}
	if a, b := NewBook(Config{Secret: secret}), NewBook(Config{Secret: secret}); a.hashKey.hash("nightly") != b.hashKey.hash("nightly") {
		t.Error("books of one secret hash a name to two numbers")
	}
}
