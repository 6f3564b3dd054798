package gateway

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// clientFile writes a client's configuration, with other files beside it.
func clientFile(t *testing.T, config string, beside map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "client.yml")
	for name, content := range beside {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, config string, beside map[string]string) *Client {
	t.Helper()
	c, err := LoadClient(clientFile(t, config, beside))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLoadClientRefuses(t *testing.T) {
	for _, tc := range []struct{ name, config, want string }{
		{"an unknown key", "basic_aut: {username: a}\n", "line 1: field basic_aut not found"},
		{"an unknown key within", "basic_auth: {user: a}\n", "line 1: field user not found"},
		{"a key twice", "http_headers: {}\nhttp_headers: {}\n", "field http_headers already set"},
		{"two ways to prove who", "basic_auth: {username: a}\nauthorization: {credentials: b}\n", "at most one of"},
		{"no YAML", "{", "yaml: "},
		{"a certificate that is not there", "tls_config: {ca_file: none.pem}\n", "none.pem: no such file"},
		{"a certificate that is none", "tls_config: {ca_file: client.yml}\n", "unable to use specified CA cert"},
		{"half a key pair", "tls_config: {cert_file: client.yml}\n", "key"},
		{"a header that is not the file's to set", "http_headers: {Content-Type: {values: [a]}}\n", `setting header "Content-Type" is not allowed`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := LoadClient(clientFile(t, tc.config, nil))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want something with %q", err, tc.want)
			}
		})
	}
	if _, err := LoadClient(filepath.Join(t.TempDir(), "none.yml")); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestWhoTheUpstreamSees sends every kind of request with a client's own
// credentials, and looks at what arrives of them.
func TestWhoTheUpstreamSees(t *testing.T) {
	const theirs = "Basic dGhlaXJzOnNlY3JldA=="
	for _, tc := range []struct {
		name, config string
		beside       map[string]string
		auth         string // of requests on behalf of a client, and of the guard's own but in the first two cases
		tenant       []string
	}{
		{"no file", "", nil, theirs, []string{"theirs"}},
		{"a file about other things", "tls_config: {server_name: a}\n", nil, theirs, []string{"theirs"}},
		{"basic_auth", "basic_auth: {username: ours, password: word}\n", nil, "Basic b3Vyczp3b3Jk", []string{"theirs"}},
		{"a password file beside it", "basic_auth: {username: ours, password_file: word}\n", map[string]string{"word": "word\n"}, "Basic b3Vyczp3b3Jk", []string{"theirs"}},
		{"authorization", "authorization: {type: Token, credentials: t}\n", nil, "Token t", []string{"theirs"}},
		{"bearer_token", "bearer_token: t\n", nil, "Bearer t", []string{"theirs"}},
		{"bearer_token_file beside it", "bearer_token_file: token\n", map[string]string{"token": "t"}, "Bearer t", []string{"theirs"}},
		{"http_headers", "http_headers: {X-Scope-OrgID: {values: [ours, too]}}\n", nil, theirs, []string{"ours", "too"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var seen http.Header
			var paths []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen, paths = r.Header.Clone(), append(paths, r.URL.Path)
				_, _ = w.Write([]byte(`{"status":"success","data":null}`))
			}))
			defer s.Close()
			cfg := Config{URL: parse(t, s.URL), Timeout: 10 * time.Second}
			if tc.config != "" {
				cfg.Client = load(t, tc.config, tc.beside)
			}
			u := open(t, cfg)
			own := tc.auth // of the guard's own questions
			if own == theirs {
				own = ""
			}
			header := http.Header{"Authorization": {theirs}, "X-Scope-Orgid": {"theirs"}, "User-Agent": {"curl/8"}}
			read := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			read.Header = header.Clone()
			for name, ask := range map[string]func(){
				"write": func() {
					_, _ = u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j"), Header: header})
				},
				"forward": func() { _, _ = u.Forward(t.Context(), "/-/quit", Request{Method: http.MethodPut, Header: header}) },
				"read":    func() { u.Proxy().ServeHTTP(httptest.NewRecorder(), read) },
			} {
				ask()
				if diff := cmp.Diff([]string{tc.auth}, seen["Authorization"]); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				if diff := cmp.Diff(tc.tenant, seen["X-Scope-Orgid"]); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
				if seen.Get("User-Agent") != "curl/8" || seen.Get("Accept-Encoding") != "" {
					t.Errorf("%s: the header was changed: %v", name, seen)
				}
			}
			for name, ask := range map[string]func(){
				"listing": func() { _, _ = u.Groups(t.Context(), 1) },
				"status":  func() { _, _ = u.UTF8Names(t.Context()) },
			} {
				if ask(); seen.Get("Authorization") != own {
					t.Errorf("%s: Authorization %q, want %q", name, seen.Get("Authorization"), own)
				}
			}
			if len(paths) != 5 {
				t.Errorf("requests for %q, want 5", paths)
			}
		})
	}
}

func TestClientOverTLS(t *testing.T) {
	var protocols []string
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protocols = append(protocols, r.Proto)
		http.Redirect(w, r, "/elsewhere", http.StatusPermanentRedirect)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = discardLog()
	s.StartTLS()
	defer s.Close()
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	push := Request{Method: http.MethodPut, Key: key("job", "j"), Body: []byte("x 1\n")}

	trusting := open(t, Config{URL: parse(t, s.URL), Client: load(t, "follow_redirects: true\ntls_config: {ca_file: ca.pem}\n", map[string]string{"ca.pem": ca})})
	for range 2 {
		if _, err := trusting.Do(t.Context(), push); err == nil || !strings.Contains(err.Error(), ErrRedirect.Error()) {
			t.Errorf("trusting the certificate: %v, want the redirect", err)
		}
	}
	if diff := cmp.Diff([]string{"HTTP/1.1", "HTTP/1.1"}, protocols); diff != "" {
		t.Error(diff)
	}
	for _, config := range []string{"{}\n", "tls_config: {ca_file: ca.pem, server_name: other.invalid}\n"} {
		u := open(t, Config{URL: parse(t, s.URL), Client: load(t, config, map[string]string{"ca.pem": ca})})
		if _, err := u.Do(t.Context(), push); err == nil || !strings.Contains(err.Error(), ErrUnreachable.Error()) {
			t.Errorf("%s: %v, want unreachable", config, err)
		}
	}
}

// TestSecretThatIsGone says of a push whose credentials cannot be read that it
// was not sent.
func TestSecretThatIsGone(t *testing.T) {
	u := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the push was sent") })
	u = open(t, Config{URL: u.at("/"), Client: load(t, "basic_auth: {username: a, password_file: gone}\n", nil)})
	_, err := u.Do(t.Context(), Request{Method: http.MethodPut, Key: key("job", "j")})
	if err == nil || !strings.Contains(err.Error(), ErrUnreachable.Error()) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("got %v, want unreachable, for want of the file", err)
	}
}
