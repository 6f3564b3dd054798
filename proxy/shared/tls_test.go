package shared_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pushguard/pushguard/proxy/gateway/gatewaytest"
	"github.com/pushguard/pushguard/proxy/shared"
	"github.com/pushguard/pushguard/proxy/shared/redistest"
)

// authority signs certificates for an hour.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign("ca", true)
	return a
}

// sign makes a certificate for 127.0.0.1; the first is the authority's own.
func (a *authority) sign(name string, isCA bool) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: isCA, BasicConstraintsValid: true,
	}
	parent, by := a.cert, a.key
	if isCA {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", "CERTIFICATE", der)
	a.write(name+".key", "PRIVATE KEY", secret)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name, kind string, der []byte) {
	a.t.Helper()
	if err := os.WriteFile(a.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// client is how a guard speaks TLS that has a certificate of this authority.
func (a *authority) client(certificate bool) *tls.Config {
	a.t.Helper()
	cfg := &tls.Config{RootCAs: x509.NewCertPool()}
	cfg.RootCAs.AddCert(a.cert)
	if certificate {
		pair, err := tls.LoadX509KeyPair(a.path("guard.pem"), a.path("guard.key"))
		if err != nil {
			a.t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// TestTLS has guards share a real Redis that speaks TLS and asks for certificates, and
// refuses what is not as it should be.
func TestTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	a.sign("redis", false)
	a.sign("guard", false)
	at := gatewaytest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(at)
	redis := redistest.Start(t, "--tls-port", port, "--tls-cert-file", a.path("redis.pem"), "--tls-key-file", a.path("redis.key"), "--tls-ca-cert-file", a.path("ca.pem"))
	secure := shared.Config{URL: "rediss://" + at + "/0", TLS: a.client(true), Timeout: patience}
	one, two := join(t, secure), join(t, secure)
	one.do(t, "said")
	if got := two.sync(t); len(got) != 1 {
		t.Errorf("%q, want what the other said", got)
	}
	for _, tc := range []struct {
		name, url string
		tls       *tls.Config
		want      string
	}{
		{"no authority", secure.URL, nil, "certificate signed by unknown authority"},
		{"another authority", secure.URL, other.client(false), "certificate signed by unknown authority"},
		{"no certificate", secure.URL, a.client(false), "does not answer"},
		{"no TLS", redis.URL(), a.client(true), "the URL is not of rediss://"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := shared.Open(t.Context(), shared.Config{URL: tc.url, TLS: tc.tls, Timeout: patience})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Open: %v, want %q", err, tc.want)
			}
		})
	}
}

// TestOnlyOneRedis is for what is more than one, each a real one.
func TestOnlyOneRedis(t *testing.T) {
	if _, err := shared.Open(t.Context(), shared.Config{URL: "redis://a:1,b:2"}); err == nil {
		t.Error("several hosts were taken")
	}
	cluster := redistest.Start(t, "--cluster-enabled", "yes")
	_, err := shared.Open(t.Context(), shared.Config{URL: cluster.URL(), Timeout: patience})
	if want := "this Redis is of a cluster"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a node of a cluster: %v, want %q", err, want)
	}
	at := gatewaytest.FreeAddress(t)
	_, port, _ := net.SplitHostPort(at)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "bind 127.0.0.1\nport %s\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := exec.Command("redis-server", conf, "--sentinel")
	if err := sentinel.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sentinel.Process.Kill(); _ = sentinel.Wait() })
	eventually(t, "the sentinel answers, and is refused", func() bool {
		_, err := shared.Open(t.Context(), shared.Config{URL: "redis://" + at, Timeout: patience})
		return err != nil && strings.Contains(err.Error(), "this Redis is of a sentinel")
	})
}
