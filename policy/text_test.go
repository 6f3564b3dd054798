package policy

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	bcryptHash = "$2y$10$abcdefghijklmnopqrstuv1234567890ABCDEFGHIJKLMNOPQRSTUV"
	tokenHash  = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
)

func TestTextsHaveNoSecrets(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"a block": {
			"version: v1\nauth:\n  push: required\n  users:\n    data: \"" + bcryptHash + "\"\n\n    ml:\n      \"" + tokenHash + "\"\n  read: [data]\njobs: []\n",
			"version: v1\nauth:\n  push: required\n  users:\n    data: …\n\n    …\n      …\n  read: [data]\njobs: []",
		},
		"in one line": {
			"auth: {push: required, users: {data: \"" + tokenHash + "\"}}\njobs: []\n",
			"auth: {push: required, users: …\n# …",
		},
		"in braces over lines": {
			"auth:\n  users: {\ndata: hunter2hunter2\n}\n", "auth:\n  users: …\n# …",
		},
		"an anchor":   {"auth:\n  users: &u\n    a: word\n", "auth:\n  users: …\n# …"},
		"a comment":   {"# was " + bcryptHash + "\na: 1", "# was …\na: 1"},
		"an alias":    {"default: {owner: &x \"" + tokenHash + "\"}", "default: {owner: &x \"…\"}"},
		"no hash yet": {"auth:\n  users:\n    data: the password itself\n  admin: [data]", "auth:\n  users:\n    data: …\n  admin: [data]"},
		"other line ends": {
			"auth:\r\n  users:\r\n    data: secret\r\n", "auth:\n  users:\n    data: …",
		},
		"a file of users":  {"auth:\n  users_file: ../users\n", "auth:\n  users_file: ../users"},
		"nothing but text": {"a: b\n<b>c</b>\n", "a: b\n<b>c</b>"},
		"nothing":          {"", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, strings.Join(redacted(c.text), "\n")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextsAreWhatRuns(t *testing.T) {
	p, err := Parse("p.yml", []byte("version: v1\n# why\ndefault: {mode: open}\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Text{{"p.yml", []string{"version: v1", "# why", "default: {mode: open}"}}}
	if diff := cmp.Diff(want, p.Texts()); diff != "" {
		t.Error(diff)
	}
}

func TestAFaultHasItsLine(t *testing.T) {
	_, err := Parse("p.yml", []byte("version: v1\ndefault: {mode: loud}\nauth:\n  users:\n    a: hunter2\n"))
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.Text)
	}
	if diff := cmp.Diff([]string{"default: {mode: loud}", "    a: …"}, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzTexts gives redacted a policy with a secret somewhere in a block of users.
func FuzzTexts(f *testing.F) {
	f.Add("version: v1\n", "data", 2)
	f.Add("auth:\n", "?", 0)
	f.Fuzz(func(t *testing.T, before, user string, indent int) {
		const secret = "correct-horse-battery"
		pad := strings.Repeat(" ", max(0, min(indent, 20)))
		text := before + "\n" + pad + "users:\n" + pad + " " + user + ": " + secret + "\n"
		if strings.ContainsAny(user, "\n\r") || strings.Contains(before+user, secret) {
			return
		}
		if got := strings.Join(redacted(text), "\n"); strings.Contains(got, secret) {
			t.Errorf("%q shows %q", text, got)
		}
	})
}
