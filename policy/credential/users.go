// Package credential says who a request comes from: users by name, whose passwords
// and tokens are known by their hashes alone.
package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

const (
	// maxCost is the highest cost of a bcrypt hash. One more doubles the time.
	maxCost = 14
	// maxName is how many bytes a name may have, maxSecrets how many hashes one user.
	maxName    = 64
	maxSecrets = 8
	tokenHash  = "sha256:"
)

// Users are those who may be somebody, with the hashes of their secrets. The zero
// value is nobody. It may be read by many goroutines once Add is called no more.
type Users struct {
	passwords map[string][][]byte
	tokens    map[[sha256.Size]byte]string
	secrets   map[string]int // how many each has
}

// Add adds a secret of a user, who may have eight of them, so that one can be
// exchanged for the other: the bcrypt hash of a password, or sha256: and the hash of
// a token in hexadecimal, which is to be random and long. Errors never repeat the hash:
// somebody may have written the secret itself.
func (u *Users) Add(name, hash string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if u.secrets == nil {
		u.secrets, u.passwords = map[string]int{}, map[string][][]byte{}
		u.tokens = map[[sha256.Size]byte]string{}
	}
	if u.secrets[name] == maxSecrets {
		return fmt.Errorf("user %q has more than %d secrets", name, maxSecrets)
	}
	if err := u.add(name, hash); err != nil {
		return fmt.Errorf("user %q: %w", name, err)
	}
	u.secrets[name]++
	return nil
}

func (u *Users) add(name, hash string) error {
	if digits, ok := strings.CutPrefix(hash, tokenHash); ok {
		var sum [sha256.Size]byte
		if n, err := hex.Decode(sum[:], []byte(digits[:min(len(digits), 2*len(sum))])); err != nil || n != len(sum) || len(digits) != 2*len(sum) {
			return errors.New("want sha256: and 64 hexadecimal digits")
		}
		if other, taken := u.tokens[sum]; taken {
			return fmt.Errorf("has a token that user %q has already", other)
		}
		u.tokens[sum] = name
		return nil
	}
	cost, err := bcrypt.Cost([]byte(hash))
	switch {
	case err != nil || len(hash) != 60:
		return errors.New("want the bcrypt hash of a password, which begins with $2y$, or sha256: and the hash of a token")
	case cost > maxCost:
		return fmt.Errorf("bcrypt of cost %d takes too long: at most %d", cost, maxCost)
	}
	u.passwords[name] = append(u.passwords[name], []byte(hash))
	return nil
}

func checkName(name string) error {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-@", r)
	}
	if name == "" || len(name) > maxName || strings.ContainsFunc(name, odd) {
		return fmt.Errorf("bad user name: want at most %d letters, digits and . _ - @", maxName)
	}
	return nil
}

// Has reports whether there is a user of that name.
func (u *Users) Has(name string) bool { return u.secrets[name] > 0 }

// Len returns how many users there are.
func (u *Users) Len() int { return len(u.secrets) }

// Names returns the names of all users, sorted.
func (u *Users) Names() []string { return slices.Sorted(maps.Keys(u.secrets)) }
