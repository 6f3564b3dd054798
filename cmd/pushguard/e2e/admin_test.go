package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/pushguard/pushguard/cmd/pushguard/e2e/world"
	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
)

// twoRules replace a label of the key and one of a metric by the same word.
func twoRules(word string) string {
	return fmt.Sprintf(`version: v1
default:
  mode: enforce
  rules:
  - {id: key, labels: [run], action: replace, replacement: %s}
  - {id: metric, labels: [user], action: replace, replacement: %s}
`, word, word)
}

// rewrite replaces a file at once, as editors and mounted config maps do.
func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// ownMetric is the value of one of the guard's own metrics, empty if it has none
// that begins so.
func ownMetric(t *testing.T, guard *world.Process, begin string) string {
	t.Helper()
	for line := range strings.Lines(guard.Get(t, "/guard/metrics").Body) {
		if strings.HasPrefix(line, begin) {
			return strings.TrimSpace(line[strings.LastIndexByte(line, ' '):])
		}
	}
	return ""
}

const lastReload = "pushguard_policy_last_reload_successful"

// TestReload changes the policy of a guard that serves, by request and by
// signal, for better and for worse.
func TestReload(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	policy := world.Write(t, "policy.yml", twoRules("first"))
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: policy, Flags: []string{"--web.enable-lifecycle"}})
	pushed := 0
	holdWord := func(word string) {
		t.Helper()
		pushed++
		job := fmt.Sprintf("reload%d", pushed)
		mustPush(t, guard, "/metrics/job/"+job+"/run/1", "a{user=\"jane\"} 1\n")
		g, found := behind.State(t).Group(map[string]string{"job": job, "run": word})
		if !found || !strings.Contains(fmt.Sprint(g.Families["a"].Series), `"user":"`+word+`"`) {
			t.Errorf("the push was not judged by the policy of %q: %v", word, behind.State(t))
		}
	}
	reload := post("/-/reload", "")
	holdWord("first")

	rewrite(t, policy, twoRules("second"))
	holdWord("first")
	if got := guard.Send(t, reload); got.Status != http.StatusOK {
		t.Errorf("reload: %d %q", got.Status, got.Body)
	}
	holdWord("second")

	rewrite(t, policy, faultyPolicy)
	got := guard.Send(t, reload)
	holdRefusal(t, got)
	if lines := strings.Count(got.Body, policy+":"); got.Status != http.StatusUnprocessableEntity || lines != 4 {
		t.Errorf("reload of a file with four faults: %d with %d lines: %q", got.Status, lines, got.Body)
	}
	if got := ownMetric(t, guard, lastReload); got != "0" {
		t.Errorf("%s is %s after a file with faults", lastReload, got)
	}
	holdWord("second")

	rewrite(t, policy, twoRules("third"))
	guard.HangUp(t)
	world.Eventually(t, func() error {
		if got := ownMetric(t, guard, lastReload); got != "1" {
			return fmt.Errorf("%s is %s after SIGHUP", lastReload, got)
		}
		return nil
	})
	holdWord("third")

	if got := behind.Send(t, reload); got.Status != http.StatusNotFound && got.Status != http.StatusMethodNotAllowed {
		t.Errorf("the Pushgateway has a /-/reload itself: %d", got.Status)
	}
	closed := world.Guard(t, world.GuardOptions{Upstream: behind})
	if got := closed.Send(t, reload); got.Status != http.StatusForbidden || got.Body != "Lifecycle API is not enabled." {
		t.Errorf("reload where it is not enabled: %d %q", got.Status, got.Body)
	}
}

// TestReloadUnderLoad reloads between two policies while jobs push: no push is
// judged by half of each.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	policy := world.Write(t, "policy.yml", twoRules("old"))
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Policy: policy, Flags: []string{"--web.enable-lifecycle"}})
	stop := make(chan struct{})
	var reloads, jobs sync.WaitGroup
	reloads.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			rewrite(t, policy, twoRules([]string{"new", "old"}[i%2]))
			if got := guard.Send(t, post("/-/reload", "")); got.Status != http.StatusOK {
				t.Errorf("reload: %d %q", got.Status, got.Body)
			}
		}
	})
	const workers, pushes = 4, 50
	for w := range workers {
		jobs.Go(func() {
			for i := range pushes {
				path := fmt.Sprintf("/metrics/job/w%dn%d/run/%d", w, i, i)
				if got := guard.Push(t, path, "a{user=\"jane\"} 1\nb{user=\"joe\"} 1\n"); got.Status != http.StatusOK {
					t.Errorf("push: %d %q", got.Status, got.Body)
				}
			}
		})
	}
	jobs.Wait()
	close(stop)
	reloads.Wait()
	state, words := behind.State(t), map[string]int{}
	for _, g := range state {
		words[g.Key["run"]]++
		for name, family := range g.Families {
			if want := `"user":"` + g.Key["run"] + `"`; !strings.Contains(fmt.Sprint(family.Series), want) {
				t.Errorf("%v was judged by one policy, its %s by another: %s", g.Key, name, family.Series)
			}
		}
	}
	if len(state) != workers*pushes || words["old"] == 0 || words["new"] == 0 || len(words) != 2 {
		t.Errorf("%d groups by %v, want %d by old and new", len(state), words, workers*pushes)
	}
}

// TestSecureUpstream stands in front of a Pushgateway that wants TLS and a
// password: with them everything works, whatever a client says of itself;
// without them nothing is let through.
func TestSecureUpstream(t *testing.T) {
	t.Parallel()
	behind, ca := world.SecurePushgateway(t)
	dir := filepath.Dir(ca)
	write := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const trust = "tls_config: {ca_file: " // relative paths are relative to the file
	write("password", world.Password+"\n")
	config := write("client.yml", trust+filepath.Base(ca)+"}\nbasic_auth: {username: "+world.User+", password_file: password}\n")
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{"--pushgateway.config.file=" + config, "--web.enable-admin-api"}})
	stranger := [2]string{"Authorization", "Basic c3RyYW5nZXI6eA=="}
	for _, r := range []world.Request{
		{Target: "/metrics/job/plain", Body: onePush},
		{Target: "/metrics/job/plain", Body: onePush, Headers: [][2]string{stranger}},
		{Method: "GET", Target: "/metrics", Headers: [][2]string{stranger}},
		{Method: "GET", Target: "/api/v1/status"},
	} {
		if got := guard.Send(t, r); got.Status != http.StatusOK {
			t.Errorf("%s %s: %d %q", r.Method, r.Target, got.Status, got.Body)
		}
	}
	if got := len(guard.State(t)); got != 1 {
		t.Errorf("%d groups behind, want 1", got)
	}
	// A guard that starts anew reads what is behind: the twin of the group is refused.
	again := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{"--pushgateway.config.file=" + config}})
	if got := again.Push(t, "/metrics/job/plain/instance/", onePush); got.Status != http.StatusBadRequest {
		t.Errorf("the twin of a group that was there: %d %q", got.Status, got.Body)
	}
	if got := guard.Send(t, method("DELETE", "/metrics/job/plain")); got.Status != http.StatusAccepted {
		t.Errorf("DELETE: %d %q", got.Status, got.Body)
	}
	if got := guard.Send(t, method("PUT", "/api/v1/admin/wipe")); got.Status == http.StatusUnauthorized || got.Status >= 500 {
		t.Errorf("wipe: %d %q", got.Status, got.Body)
	}

	// The secret is read again as it changes.
	write("password", "wrong")
	if got := guard.Push(t, seedPath, seedBody); got.Status != http.StatusUnauthorized {
		t.Errorf("with a wrong password: %d %q", got.Status, got.Body)
	}
	write("password", world.Password)
	mustPush(t, guard, seedPath, seedBody)
}

// TestTrustedProxy has the audit name the client behind a proxy, as far as the
// proxy is trusted.
func TestTrustedProxy(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t)
	for _, tc := range []struct{ name, flag, header, want string }{
		{"trusted", "--web.trusted-proxies=10.0.0.0/8,127.0.0.0/8", "203.0.113.5, 198.51.100.7, 10.1.1.1", `"client":"198.51.100.7"`},
		{"trusted, but says nothing sensible", "--web.trusted-proxies=127.0.0.1", "198.51.100.7, me", `"client":"127.0.0.1:`},
		{"not trusted", "--web.trusted-proxies=10.0.0.0/8", "198.51.100.7", `"client":"127.0.0.1:`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			audit := filepath.Join(t.TempDir(), "audit.jsonl")
			guard := world.Guard(t, world.GuardOptions{Upstream: behind, Audit: audit, Flags: []string{tc.flag, "--audit.all"}})
			r := post("/metrics/job/proxied", onePush)
			r.Headers = append(r.Headers, [2]string{"X-Forwarded-For", tc.header})
			if got := guard.Send(t, r); got.Status != http.StatusOK {
				t.Fatalf("push: %d %q", got.Status, got.Body)
			}
			record, err := os.ReadFile(audit)
			if err != nil || !strings.Contains(string(record), tc.want) {
				t.Errorf("want %s in %s, %v", tc.want, record, err)
			}
		})
	}
}

// TestAdminAddress sets the admin's pages apart: clients' address has none of
// them, the admin's nothing else.
func TestAdminAddress(t *testing.T) {
	t.Parallel()
	behind := world.Pushgateway(t, "--web.enable-admin-api", "--web.enable-lifecycle")
	admin := &world.Process{Name: "the admin's side", Addr: gatewaytest.FreeAddress(t)}
	guard := world.Guard(t, world.GuardOptions{Upstream: behind, Flags: []string{
		"--admin.listen-address=" + admin.Addr, "--web.enable-admin-api", "--web.enable-lifecycle",
	}})
	mustPush(t, guard, seedPath, seedBody)
	seeded := behind.State(t)
	for _, r := range []world.Request{
		method("GET", "/guard/metrics"), post("/-/reload", ""), method("PUT", "/-/reload"), method("GET", "/-/reload"),
		method("PUT", "/api/v1/admin/wipe"), post("/-/quit", ""), post("/%2d/quit", ""), method("PUT", "/api/v1/admin/w%69pe"),
	} {
		if got := guard.Send(t, r); got.Status != http.StatusNotFound {
			t.Errorf("%s %s at the clients' address: %d %q", r.Method, r.Target, got.Status, got.Body)
		}
	}
	for _, r := range []world.Request{
		post(seedPath, seedBody), method("DELETE", seedPath), method("GET", "/metrics"), method("GET", "/"), method("GET", "/api/v1/metrics"),
	} {
		if got := admin.Send(t, r); got.Status != http.StatusNotFound {
			t.Errorf("%s %s at the admin's address: %d %q", r.Method, r.Target, got.Status, got.Body)
		}
	}
	behind.Unchanged(t, seeded)
	if got := admin.Get(t, "/guard/metrics"); !strings.Contains(got.Body, lastReload+" 1\n") {
		t.Errorf("/guard/metrics at the admin's address: %d %.200q", got.Status, got.Body)
	}
	if got := admin.Send(t, post("/-/reload", "")); got.Status != http.StatusOK {
		t.Errorf("reload at the admin's address: %d %q", got.Status, got.Body)
	}
	if got := admin.Send(t, method("PUT", "/api/v1/admin/wipe")); got.Status != http.StatusAccepted {
		t.Errorf("wipe at the admin's address: %d %q", got.Status, got.Body)
	}
	mustPush(t, guard, "/metrics/job/after", onePush) // waits for the queue
	if got := behind.State(t); len(got) != 1 {
		t.Errorf("groups after the wipe: %v", got.Keys())
	}
}

// TestLinksOfTheGroups follows each link of the page of the groups, which leads to the
// console unless that has an address of its own.
func TestLinksOfTheGroups(t *testing.T) {
	t.Parallel()
	for name, apart := range map[string][]string{"together": nil, "apart": {"--admin.listen-address=" + gatewaytest.FreeAddress(t)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guard := world.Guard(t, world.GuardOptions{Flags: apart})
			page := guard.Get(t, "/").Body
			links := regexp.MustCompile(`href="([^"]*)"`).FindAllStringSubmatch(page, -1)
			for _, link := range links {
				if got := guard.Send(t, method("GET", "/"+link[1])); got.Status != http.StatusOK {
					t.Errorf("%s: %d %q", link[1], got.Status, got.Body)
				}
			}
			if len(links) < 2 || strings.Contains(page, `href="guard/"`) != (apart == nil) {
				t.Error(page)
			}
		})
	}
}

// TestCheck runs the command as a build pipeline does.
func TestCheck(t *testing.T) {
	t.Parallel()
	shippedPolicy := filepath.Join(world.Root(), "deploy", "policy.example.yml")
	faulty := world.Write(t, "faulty.yml", faultyPolicy)
	for _, tc := range []struct {
		name          string
		args          []string
		code          int
		faults, goods int
	}{
		{"the shipped policy", []string{shippedPolicy}, 0, 0, 1},
		{"a faulty one beside it", []string{faulty, shippedPolicy}, 1, 4, 1},
		{"one that is not there", []string{"/none.yml", shippedPolicy}, 2, 0, 1},
		{"none", nil, 2, 0, 0},
	} {
		got := command(t, append([]string{"check"}, tc.args...)...)
		if got.code != tc.code || strings.Count(got.stderr, faulty+":") != tc.faults || strings.Count(got.stdout, ": ok (") != tc.goods {
			t.Errorf("%s: exit %d, stdout %q, stderr %q", tc.name, got.code, got.stdout, got.stderr)
		}
	}
}
