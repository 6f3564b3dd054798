package world

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The user that a SecurePushgateway knows, and the bcrypt of the password, at
// the least cost.
const (
	User     = "ops"
	Password = "secret"
	hashed   = "$2a$04$c44l.nO91u0YjcIp8BnR1eLBXAeU.kwd84iKVsCPjLYQXFgJIXU0C"
)

// SecurePushgateway starts a Pushgateway that takes requests by TLS alone, and
// only from User. The certificate it shows, signed by itself for 127.0.0.1, is
// in the file ca.
func SecurePushgateway(t testing.TB) (p *Process, ca string) {
	t.Helper()
	Need(t, PushgatewayPath)
	dir := t.TempDir()
	ca, key := selfSigned(t, dir)
	config := filepath.Join(dir, "web.yml")
	content := "tls_server_config: {cert_file: " + ca + ", key_file: " + key + "}\nbasic_auth_users: {" + User + ": " + hashed + "}\n"
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 { // at a port that somebody else may take first
		p = launch(t, "pushgateway", PushgatewayPath, "", "", []string{"--persistence.file=", "--web.config.file=" + config})
		p.URL = "https://" + User + ":" + Password + "@" + p.Addr
		if p.ready() {
			p.URL = "https://" + p.Addr
			t.Cleanup(func() { p.end(t) })
			return p, ca
		}
		p.Kill()
	}
	t.Fatalf("%s did not become ready:\n%s", p.Name, p.Logs())
	return nil, ""
}

// selfSigned writes a certificate of an hour and its key.
func selfSigned(t testing.TB, dir string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "a test"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	public, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: public},
		key:         {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}
