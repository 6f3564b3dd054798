package credential

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

func hashed(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

func tokenOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func basic(name, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(name, password)
	return r.Header
}

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func users(t testing.TB, pairs ...string) *Users {
	t.Helper()
	u := &Users{}
	for i := 0; i < len(pairs); i += 2 {
		if err := u.Add(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

func TestWho(t *testing.T) {
	u := users(t, "data", hashed(t, "first"), "data", hashed(t, "second"), "flow", tokenOf("long-token"), "other", hashed(t, ""))
	for _, test := range []struct {
		name   string
		header http.Header
		want   string
		err    error
	}{
		{"nothing", http.Header{}, "", ErrNone},
		{"a password", basic("data", "first"), "data", nil},
		{"the one it is exchanged for", basic("data", "second"), "data", nil},
		{"another's", basic("other", "first"), "", ErrWrong},
		{"a wrong one", basic("data", "third"), "", ErrWrong},
		{"none", basic("data", ""), "", ErrWrong},
		{"of nobody", basic("nobody", "first"), "", ErrWrong},
		{"a token", bearer("long-token"), "flow", nil},
		{"a token with blanks", bearer(" long-token "), "flow", nil},
		{"the scheme in small letters", http.Header{"Authorization": {"bearer long-token"}}, "flow", nil},
		{"a token as password", basic("flow", "long-token"), "flow", nil},
		{"a token as another's password", basic("data", "long-token"), "", ErrWrong},
		{"a wrong token", bearer("long-tokem"), "", ErrWrong},
		{"no token", bearer(""), "", ErrWrong},
		{"a password as token", bearer("first"), "", ErrWrong},
		{"the hash as token", bearer(tokenOf("long-token")), "", ErrWrong},
		{"basic that is none", http.Header{"Authorization": {"Basic !"}}, "", ErrNone},
		{"another scheme", http.Header{"Authorization": {"Digest x"}}, "", ErrNone},
	} {
		c := NewChecker()
		for range 2 { // the second time it is remembered
			who, err := c.Who(t.Context(), u, test.header)
			if !errors.Is(err, test.err) || err == nil && who != test.want {
				t.Errorf("%s: %q, %v; want %q, %v", test.name, who, err, test.want, test.err)
			}
		}
	}
	if _, err := NewChecker().Who(t.Context(), &Users{}, bearer("x")); !errors.Is(err, ErrWrong) {
		t.Errorf("among nobody: %v", err)
	}
}

// TestTokensAreLookedUpByTheirHashes has users hold nothing that a token, or the beginning of
// one, could be held against for longer or shorter.
func TestTokensAreLookedUpByTheirHashes(t *testing.T) {
	const token = "3f9d2c71b8e640a5"
	u := users(t, "etl", tokenOf(token))
	if kept := fmt.Sprintf("%#v", u); strings.Contains(kept, token) || strings.Contains(kept, token[:8]) {
		t.Errorf("the token is kept: %s", kept)
	}
	if len(u.tokens) != 1 || u.tokens[sha256.Sum256([]byte(token))] != "etl" {
		t.Errorf("not found by its hash: %v", u.tokens)
	}
	for _, guess := range []string{"", token[:8], token[:15], token + "0", strings.ToUpper(token)} {
		if _, err := NewChecker().Who(t.Context(), u, bearer(guess)); !errors.Is(err, ErrWrong) {
			t.Errorf("%q: %v, want %v", guess, err, ErrWrong)
		}
	}
}

func TestAdd(t *testing.T) {
	costly := strings.Replace(hashed(t, "x"), "$04$", "$14$", 1)
	for _, test := range []struct{ name, user, hash, want string }{
		{"bcrypt", "a.b-c_d@E9", hashed(t, "x"), ""},
		{"bcrypt as htpasswd writes it", "a", strings.Replace(hashed(t, "x"), "$2a$", "$2y$", 1), ""},
		{"the highest cost", "a", costly, ""},
		{"over it", "a", strings.Replace(costly, "$14$", "$15$", 1), `user "a": bcrypt of cost 15 takes too long: at most 14`},
		{"a token", "a", tokenOf("x"), ""},
		{"a short token", "a", tokenOf("x")[:70], `user "a": want sha256: and 64 hexadecimal digits`},
		{"a long token", "a", tokenOf("x") + "0", `user "a": want sha256: and 64 hexadecimal digits`},
		{"a password itself", "a", "hunter2", `user "a": want the bcrypt hash of a password`},
		{"half a hash", "a", hashed(t, "x")[:59], `user "a": want the bcrypt hash of a password`},
		{"no name", "", tokenOf("x"), "bad user name"},
		{"a name with a colon", "a:b", tokenOf("x"), "bad user name"},
		{"the longest name", strings.Repeat("n", 64), tokenOf("x"), ""},
		{"a longer one", strings.Repeat("n", 65), tokenOf("x"), "bad user name"},
	} {
		err := (&Users{}).Add(test.user, test.hash)
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
		if err != nil && test.hash != "" && strings.Contains(err.Error(), test.hash) {
			t.Errorf("%s: %v repeats the secret", test.name, err)
		}
	}
	u := &Users{}
	for i := range maxSecrets {
		if err := u.Add("a", tokenOf(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := u.Add("a", tokenOf("more")); err == nil {
		t.Error("a ninth secret is taken")
	}
	if err := u.Add("b", tokenOf("1")); err == nil {
		t.Error("two users share a token")
	}
}

// Bcrypt runs once for each password, right or wrong, and again once the hash is
// another.
func TestVerifiesOnce(t *testing.T) {
	c := NewChecker()
	runs := 0
	real := c.verify
	c.verify = func(hash, password []byte) error { runs++; return real(hash, password) }
	before := users(t, "a", hashed(t, "x"))
	for _, step := range []struct {
		u        *Users
		password string
		err      error
		runs     int
	}{
		{before, "x", nil, 1},
		{before, "x", nil, 1},
		{before, "y", ErrWrong, 2},
		{before, "y", ErrWrong, 2},
		{users(t, "a", hashed(t, "y")), "x", ErrWrong, 3},
		{before, "x", nil, 3},
	} {
		if _, err := c.Who(t.Context(), step.u, basic("a", step.password)); !errors.Is(err, step.err) || runs != step.runs {
			t.Errorf("password %s: %v after %d runs, want %v after %d", step.password, err, runs, step.err, step.runs)
		}
	}
}

// Who guesses takes no more than the processors set aside for it, pushes out nobody
// who was verified, and the rest are told to come again.
func TestGuessingIsBounded(t *testing.T) {
	c := NewChecker()
	u := users(t, "a", hashed(t, "x"))
	if _, err := c.Who(t.Context(), u, basic("a", "x")); err != nil {
		t.Fatal(err)
	}
	c.patience = time.Millisecond
	var running, most atomic.Int64
	release := make(chan struct{})
	c.verify = func(_, _ []byte) error {
		for n := running.Add(1); ; {
			if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
				break
			}
		}
		<-release
		running.Add(-1)
		return errors.New("wrong")
	}
	const guesses = 50
	answers := make(chan error, guesses)
	var all sync.WaitGroup
	for i := range guesses {
		all.Go(func() {
			_, err := c.Who(context.Background(), u, basic("a", fmt.Sprint(i)))
			answers <- err
		})
	}
	for range guesses - cap(c.verifying) {
		if err := <-answers; !errors.Is(err, ErrBusy) {
			t.Errorf("a guess beyond the bound: %v", err)
		}
	}
	if _, err := c.Who(t.Context(), u, basic("a", "x")); err != nil {
		t.Errorf("who is known waits for those who guess: %v", err)
	}
	close(release)
	all.Wait()
	if n := most.Load(); n > int64(cap(c.verifying)) {
		t.Errorf("%d at a time, want %d", n, cap(c.verifying))
	}
	for i := range 2 * remembered {
		c.wrong.Add(c.mark(nil, fmt.Sprint(i)), struct{}{})
	}
	if c.wrong.Len() > remembered {
		t.Errorf("%d wrong ones are remembered, want %d", c.wrong.Len(), remembered)
	}
	if _, err := c.Who(t.Context(), u, basic("a", "x")); err != nil {
		t.Errorf("wrong ones push out right ones: %v", err)
	}
}

func FuzzAdd(f *testing.F) {
	f.Add("a", "sha256:00", "x")
	f.Add("a:b", "$2y$10$", "x")
	f.Add("a", hashed(f, "x"), "x")
	f.Fuzz(func(t *testing.T, name, hash, password string) {
		u := &Users{}
		if err := u.Add(name, hash); err != nil {
			if len(hash) > 20 && bytes.Contains([]byte(err.Error()), []byte(hash)) {
				t.Errorf("%v repeats the secret", err)
			}
			return
		}
		if strings.HasPrefix(hash, "$") {
			return // slow
		}
		if who, err := NewChecker().Who(t.Context(), u, bearer(hash)); err == nil {
			t.Errorf("a hash is taken for its secret: %s", who)
		}
	})
}
