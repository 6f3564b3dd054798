package credential

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"
)

// Why nobody is known to have sent a request.
var (
	ErrNone  = errors.New("no credentials were sent")
	ErrWrong = errors.New("the credentials are not known here")
	// ErrBusy says that too many passwords are being verified at this time.
	ErrBusy = errors.New("too many passwords are being verified")
)

const (
	remembered = 4096            // passwords that were verified, right ones and wrong ones each
	patience   = 5 * time.Second // how long a request waits to have one verified
)

// Checker verifies credentials. Bcrypt takes long on purpose, so what was verified
// is remembered, as a hash by a key that dies with the process; and what is not
// takes at most half of the processors, whatever is sent. It is safe for concurrent
// use.
type Checker struct {
	key       [32]byte
	right     *lru.Cache[[sha256.Size]byte, struct{}]
	wrong     *lru.Cache[[sha256.Size]byte, struct{}]
	verifying chan struct{}
	patience  time.Duration
	verify    func(hash, password []byte) error
}

// NewChecker returns a checker that remembers nothing yet.
func NewChecker() *Checker {
	c := &Checker{
		verifying: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), patience: patience,
		verify: bcrypt.CompareHashAndPassword,
	}
	_, _ = rand.Read(c.key[:]) // never fails
	// The error is for a size that is not positive. Wrong ones have a cache of their
	// own, so that who guesses pushes out nobody who is right.
	c.right, _ = lru.New[[sha256.Size]byte, struct{}](remembered)
	c.wrong, _ = lru.New[[sha256.Size]byte, struct{}](remembered)
	return c
}

// Who returns the name of the user whose password or token the header has, by Basic
// or Bearer: ErrNone without either, ErrWrong, or ErrBusy. A token does as the
// password of its user, for clients that know Basic alone.
func (c *Checker) Who(ctx context.Context, u *Users, h http.Header) (string, error) {
	given := h.Get("Authorization")
	if given == "" {
		return "", ErrNone
	}
	scheme, token, _ := strings.Cut(given, " ")
	if strings.EqualFold(scheme, "Bearer") {
		return c.bearer(u, strings.TrimSpace(token))
	}
	name, password, ok := (&http.Request{Header: h}).BasicAuth()
	if !ok {
		return "", ErrNone
	}
	if owner, err := c.bearer(u, password); err == nil && owner == name {
		return name, nil
	}
	return name, c.password(ctx, u, name, password)
}

// bearer finds a token by its hash: the time that takes tells of the hash of what was
// sent, and nothing of the tokens.
func (c *Checker) bearer(u *Users, token string) (string, error) {
	if name, ok := u.tokens[sha256.Sum256([]byte(token))]; ok {
		return name, nil
	}
	return "", ErrWrong
}

// password verifies a password of a user. That there is nobody of a name is no
// secret, and takes no time.
func (c *Checker) password(ctx context.Context, u *Users, name, password string) error {
	hashes := u.passwords[name]
	for _, hash := range hashes {
		if c.right.Contains(c.mark(hash, password)) {
			return nil
		}
	}
	for _, hash := range hashes {
		if err := c.slowly(ctx, hash, password); !errors.Is(err, ErrWrong) {
			return err
		}
	}
	return ErrWrong
}

// slowly verifies a password in its turn, unless that was done before.
func (c *Checker) slowly(ctx context.Context, hash []byte, password string) error {
	mark := c.mark(hash, password)
	if c.wrong.Contains(mark) {
		return ErrWrong
	}
	ctx, cancel := context.WithTimeout(ctx, c.patience)
	defer cancel()
	select {
	case c.verifying <- struct{}{}:
		defer func() { <-c.verifying }()
	case <-ctx.Done():
		return ErrBusy
	}
	switch {
	case c.right.Contains(mark):
		return nil // of one who was ahead
	case c.wrong.Contains(mark):
		return ErrWrong
	case c.verify(hash, []byte(password)) != nil:
		c.wrong.Add(mark, struct{}{})
		return ErrWrong
	}
	c.right.Add(mark, struct{}{})
	return nil
}

// mark is what is remembered of a password and the hash it was held against: with
// another hash, as of a password that was changed, it is another one.
func (c *Checker) mark(hash []byte, password string) [sha256.Size]byte {
	b := make([]byte, 0, len(c.key)+len(hash)+len(password)+binary.MaxVarintLen64)
	b = append(b, c.key[:]...)
	b = binary.AppendUvarint(b, uint64(len(hash)))
	b = append(b, hash...)
	return sha256.Sum256(append(b, password...))
}
