package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestResumedSessions takes the name of a client off the list while it has a session: it
// comes no more, and comes again once its name is back.
func TestResumedSessions(t *testing.T) {
	upstream, _, release := slowUpstream(t)
	release()
	pair, both := certificate(t, "job.example")
	config := write(t, "web.yml", "")
	permit := func(name string) {
		t.Helper()
		text := "tls_server_config: {cert_file: " + both + ", key_file: " + both + ", client_ca_file: " + both +
			", client_auth_type: RequireAndVerifyClientCert, client_allowed_sans: [" + name + "]}\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	permit("job.example")
	s := start(t, upstream, "--web.config.file="+config)
	url := "https" + s.url[len("http"):] + "/-/healthy"
	roots := x509.NewCertPool()
	roots.AddCert(pair.Leaf)
	for _, http2 := range []bool{false, true} {
		client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: http2, DisableKeepAlives: true, TLSClientConfig: &tls.Config{
			RootCAs: roots, Certificates: []tls.Certificate{pair}, ClientSessionCache: tls.NewLRUClientSessionCache(1),
		}}}
		resumed := func(want int) {
			t.Helper()
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want || !resp.TLS.DidResume {
				t.Errorf("HTTP/2 %v: %d, resumed: %v; want %d", http2, resp.StatusCode, resp.TLS.DidResume, want)
			}
		}
		if resp, err := client.Get(url); err != nil {
			t.Fatal(err)
		} else {
			resp.Body.Close()
		}
		resumed(http.StatusOK)
		permit("another.example")
		resumed(http.StatusForbidden)
		permit("job.example")
		resumed(http.StatusOK)
	}
}

// certificate makes one of an hour, signed by itself, for a server at 127.0.0.1 and for a
// client of that name, in a file with its key.
func certificate(t *testing.T, name string) (pair tls.Certificate, file string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	file = filepath.Join(t.TempDir(), "both.pem")
	if err := os.WriteFile(file, append(public, private...), 0o600); err != nil {
		t.Fatal(err)
	}
	if pair, err = tls.X509KeyPair(public, private); err != nil {
		t.Fatal(err)
	}
	return pair, file
}
