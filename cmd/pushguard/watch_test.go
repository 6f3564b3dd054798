package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pushguard/pushguard/policy"
	"github.com/pushguard/pushguard/proxy/leaktest"
)

func TestWatcher(t *testing.T) {
	for _, test := range []struct{ seen, want string }{
		{"aaaa", "...."},       // nothing changes
		{"abbb", "..!."},       // a change, once
		{"abcdd", "....!"},     // a change while it is written
		{"abab", "...."},       // one that did not last
		{"abbaa", "..!.!"},     // there and back
		{"a-aa-bb", "......!"}, // gone for a moment
		{"a--bb", "..!.!"},     // gone for long
	} {
		i := 0
		var read *string
		w := watcher{loaded: "a", read: func() *string { return read }, stamp: func() string { i++; return test.seen[i-1 : i] }}
		got := ""
		for range test.seen {
			if w.due() {
				got += "!"
			} else {
				got += "."
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.seen, got, test.want)
		}
	}
}

// TestWatcherOfWhatOthersRead has somebody else ask for the policy to be read, as SIGHUP
// does, and the files be as before when they are next looked at: what is in force is not
// what is there.
func TestWatcherOfWhatOthersRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.yml")
	before, after := "version: v1\ndefault: {owner: a}\n", "version: v1\ndefault: {owner: b}\n"
	for _, between := range []string{after, "version: v9\n"} {
		put(t, file, before)
		s := &serveCommand{policyFile: file, policyWatch: time.Minute}
		w := watcher{read: s.policyRead.stamp.Load, stamp: func() string { return policy.Stamp(file, nil) }}
		w.loaded = w.stamp()
		due := func(want bool, when string) {
			t.Helper()
			if w.due() != want {
				t.Errorf("%s: %t, want %t", when, !want, want)
			}
			if want {
				_, _ = s.loadPolicyAgain()
			}
		}
		due(false, "at first")
		put(t, file, between)
		_, _ = s.loadPolicyAgain()
		put(t, file, before)
		due(true, "read between")
		due(false, "read again")
		put(t, file, after)
		_, _ = s.loadPolicyAgain()
		due(false, "read by others")
		due(false, "read by others, for long")
	}
}

// policyNow is what the API says of the policy in force.
func policyNow(t *testing.T, url string) (now struct {
	Files      []string
	Digest     string
	LastReload struct {
		Successful bool
		Before     string
		Changes    []string
		Error      string
		Faults     []struct {
			File         string
			Line, Column int
			Message      string
		}
	} `json:"last_reload"`
},
) {
	t.Helper()
	var answer struct{ Data json.RawMessage }
	if err := json.Unmarshal([]byte(get(t, url+"/guard/api/v1/policy")), &answer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(answer.Data, &now); err != nil {
		t.Fatal(err)
	}
	return now
}

// awaitChange waits until the last reload says so.
func awaitChange(t *testing.T, url, want string) {
	t.Helper()
	var changes []string
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		now := policyNow(t, url)
		changes = now.LastReload.Changes
		if now.LastReload.Successful && strings.Join(changes, "\n") == want {
			return
		}
	}
	t.Fatalf("the last reload changed %q, want %q", changes, want)
}

func put(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestPolicyWatch(t *testing.T) {
	t.Cleanup(func() { leaktest.None(t); http.DefaultClient.CloseIdleConnections() })
	upstream, _, release := slowUpstream(t)
	release()
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.yml")
	put(t, file, "version: v1\ndefault: {owner: a}\n")
	s := start(t, upstream, "--policy.file="+file, "--policy.watch=10ms")

	put(t, file, "version: v1\ndefault: {owner: b}\n")
	awaitChange(t, s.url, "default: owner: a → b")

	put(t, file+".new", "version: v1\ndefault: {owner: c}\n") // as editors do
	replace(t, file+".new", file)
	awaitChange(t, s.url, "default: owner: b → c")

	inForce := policyNow(t, s.url).Digest
	put(t, file, "version: v1\ndefault: {owner: c, mood: x}\n")
	s.log.await(t, `The policy was not read again`)
	s.log.await(t, `:2:21: default: unknown key`)
	if got := reloads(t, s.url); !strings.Contains(got, "successful 0") || !strings.Contains(got, inForce) {
		t.Errorf("after a fault the metrics say\n%s", got)
	}
	now := policyNow(t, s.url)
	if f := now.LastReload.Faults; now.LastReload.Successful || now.Digest != inForce || len(f) != 1 || f[0].File != file || f[0].Line != 2 || f[0].Column != 21 {
		t.Errorf("after a fault the API says %+v", now)
	}

	put(t, file, "version: v1\ndefault: {owner: d}\n")
	awaitChange(t, s.url, "default: owner: c → d")
	if got := reloads(t, s.url); !strings.Contains(got, "successful 1") {
		t.Errorf("after a good file the metrics say\n%s", got)
	}
	s.stop()
	s.exit(t)
}

// Users are read again when their file alone has changed, and a file more in the
// folder is one reload.
func TestPolicyWatchOfUsers(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"status":"success","data":[]}`)
	}))
	t.Cleanup(upstream.Close)
	dir := t.TempDir()
	hash := func(token string) string { return fmt.Sprintf("team:sha256:%x\n", sha256.Sum256([]byte(token))) }
	users := filepath.Join(dir, "users")
	put(t, users, hash("old"))
	put(t, filepath.Join(dir, "teams", "a.yml"), "version: v1\nauth: {push: required, users_file: ../users}\ndefault: {push: [team]}\n")
	s := start(t, upstream.URL, "--policy.file="+filepath.Join(dir, "teams"), "--policy.watch=10ms")
	pushed := func(token string) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/metrics/job/a", strings.NewReader("a 1\n"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Body.Close()
		return got.StatusCode
	}
	if before, after := pushed("old"), pushed("new"); before != 200 || after != 401 {
		t.Errorf("before the change %d and %d, want 200 and 401", before, after)
	}
	put(t, users, hash("new"))
	for deadline := time.Now().Add(60 * time.Second); pushed("new") != 200; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new token is never taken")
		}
	}
	if got := pushed("old"); got != 401 {
		t.Errorf("the old token gets %d, want 401", got)
	}

	put(t, filepath.Join(dir, "teams", "b.yml"), "jobs: [{job: b}]\n")
	awaitChange(t, s.url, `job "b": added (owner nobody, mode report)`)
	time.Sleep(100 * time.Millisecond) // ten looks more: none may find a change
	awaitChange(t, s.url, `job "b": added (owner nobody, mode report)`)
}

// A ConfigMap is a folder of links through ..data, which is exchanged as a whole.
func TestPolicyWatchOfAConfigMap(t *testing.T) {
	upstream, _, release := slowUpstream(t)
	release()
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, in(name)); err != nil {
			t.Fatal(err)
		}
	}
	put(t, in("..2026_01/platform.yml"), "version: v1\ndefault: {owner: a}\n")
	put(t, in("..2026_01/team.yml"), "jobs: [{job: one}]\n")
	link("..2026_01", "..data")
	link("..data/platform.yml", "platform.yml")
	link("..data/team.yml", "team.yml")
	s := start(t, upstream, "--policy.file="+dir, "--policy.watch=10ms")
	if diff := cmp.Diff([]string{in("platform.yml"), in("team.yml")}, policyNow(t, s.url).Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}

	put(t, in("..2026_02/platform.yml"), "version: v1\ndefault: {owner: b}\n")
	put(t, in("..2026_02/team.yml"), "jobs: [{job: two}]\n")
	link("..2026_02", "..data_tmp")
	replace(t, in("..data_tmp"), in("..data"))
	if err := os.RemoveAll(in("..2026_01")); err != nil {
		t.Fatal(err)
	}
	awaitChange(t, s.url, "default: owner: a → b\njob \"one\": removed\njob \"two\": added (owner b, mode report)")
}
