package policy

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someHash = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestMayPush(t *testing.T) {
	hash := func(digit string) string { return someHash[:len(someHash)-1] + digit }
	p := parse(t, `version: v1
auth: {push: required, users: {a: "`+hash("1")+`", b: "`+hash("2")+`"}}
default: {push: [a]}
jobs:
- {job: own, push: [b]}
- {job: all, push: ['*']}
- {job: none, push: []}
- {job: heir}
`)
	for job, want := range map[string]string{"own": "b", "all": "a b", "none": "", "heir": "a", "other": "a"} {
		var got []string
		for _, user := range []string{"a", "b"} {
			if p.Entry(job).MayPush(user) {
				got = append(got, user)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("job %s: %q may push, want %q", job, got, want)
		}
	}
	if a := p.Auth(); !a.PushRequired || !a.Read.Anyone() || a.Admin.Anyone() || a.Admin.Has("a") {
		t.Errorf("what is not written: %+v", a)
	}
	if a := parse(t, "version: v1\n").Auth(); a.PushRequired || !a.Read.Anyone() || !a.Admin.Anyone() {
		t.Errorf("without auth: %+v", a)
	}
}

// A fault of auth names its place and never what may be a secret.
func TestAuthFaults(t *testing.T) {
	const secret = "hunter2hunter2"
	for _, test := range []struct{ name, policy, users, want string }{
		{"a password itself", "auth: {users: {a: hunter2hunter2}}", "", "policy.yml:2:16: auth: users: user \"a\": want the bcrypt hash"},
		{"a number", "auth: {users: {a: 12345678}}", "", "policy.yml:2:19: auth: users: a: want a hash in quotes"},
		{"a list", "auth: {users: [hunter2hunter2]}", "", "policy.yml:2:15: auth: users: want a mapping of users to hashes"},
		{"a user twice", "auth: {users: {a: \"" + someHash + "\", a: \"" + someHash + "\"}}", "", "policy.yml:2:94: auth: users: duplicate user \"a\""},
		{"a mode", "auth: {push: on}", "", "policy.yml:2:14: auth: unknown push \"on\""},
		{"nobody at all", "auth: {push: required}", "", "policy.yml:2:14: auth: push: nobody can push: want users or a users_file beside it"},
		{"nobody among the users", "auth:\n  users: {}\n  push: required", "", "policy.yml:4:9: auth: push: nobody can push: want users or a users_file beside it"},
		{"a password of the only one", "auth: {push: required, users: {a: hunter2hunter2}}", "", "policy.yml:2:32: auth: users: user \"a\": want the bcrypt hash"},
		{"nobody of that name", "auth: {read: [a]}", "", "policy.yml:2:15: auth: read: unknown user \"a\""},
		{"nor in an entry", "jobs: [{job: j, push: [a]}]", "", "policy.yml:2:24: job \"j\": push: unknown user \"a\""},
		{"no file", "auth: {users_file: none}", "", "policy.yml:2:20: auth: users_file: stat "},
		{"more than can be a file", "auth: {users_file: users}", strings.Repeat("#\n", maxSize/2) + "#", "policy.yml:2:20: auth: users_file: the file is too large"},
		{"a folder as file", "auth: {users_file: .}", "", "policy.yml:2:20: auth: users_file: no regular file"},
		{"a line of the file", "auth: {users_file: users}", "# ours\n\na:" + someHash + "\nb:hunter2hunter2\n", "users:4:1: user \"b\": want the bcrypt hash"},
		{"a line without a name", "auth: {users_file: users}", "hunter2hunter2\n", "users:1:1: want NAME:HASH"},
	} {
		dir := folder(t, map[string]string{"policy.yml": "version: v1\n" + test.policy + "\n", "users": test.users})
		_, err := Load(filepath.Join(dir, "policy.yml"))
		if !errors.As(err, new(Faults)) {
			t.Errorf("%s: want faults, got %v", test.name, err)
			continue
		}
		if got := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""); !strings.HasPrefix(got, test.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
		if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "12345678") {
			t.Errorf("%s: %v repeats the secret", test.name, err)
		}
	}
}

// A file of users may be empty yet: nobody is needed before its next reading.
func TestUsersFileWithoutUsers(t *testing.T) {
	dir := folder(t, map[string]string{"policy.yml": "version: v1\nauth: {push: required, users_file: users}\n", "users": "# none yet\n"})
	if _, err := Load(filepath.Join(dir, "policy.yml")); err != nil {
		t.Error(err)
	}
}

func TestUsersFileOfAFolder(t *testing.T) {
	dir := folder(t, map[string]string{
		"a.yml":   "version: v1\njobs: [{job: j, push: [b]}]\n",
		"z.yml":   "auth: {push: required, users_file: secrets}\n",
		"secrets": "b:" + someHash + "\r\n",
	})
	p, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Entry("j").MayPush("b") {
		t.Error("the user of the file may not push")
	}
	if diff := cmp.Diff([]string{filepath.Join(dir, "secrets")}, p.Besides()); diff != "" {
		t.Errorf("files of users (-want +got):\n%s", diff)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.yml"), []byte("auth: {push: required}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), "z.yml:1:7: auth: stands in two files: first at "+dir) {
		t.Errorf("two auths: %v", err)
	}
}

func TestDiffNamesUsersAlone(t *testing.T) {
	got := parse(t, "version: v1\nauth: {push: required, users: {a: \""+someHash+"\"}}\njobs: [{job: j, push: [a]}]\n").Diff(parse(t, "version: v1\njobs: [{job: j}]\n"))
	want := []string{
		"auth: push off, read anybody, admin anybody, users [] → push required, read anybody, admin [], users [a]",
		`job "j": push: [] → [a]`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
