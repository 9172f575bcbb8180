package main

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
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/shopspring/decimal"

	"closeout/alpaca/sim"
	"closeout/internal/servers"
)

// certified writes a certificate for 127.0.0.1 that is its own authority, and its key, where servers of any user find them.
func certified(t *testing.T) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "closeout's test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "closeout-certificate-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for _, f := range []struct {
		name, kind string
		bytes      []byte
	}{{cert, "CERTIFICATE", der}, {key, "PRIVATE KEY", private}} {
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// TestRealEncryptedServers: a payout over a Redis and a Postgres that are spoken with in TLS alone, whose addresses stand in
// files; and nobody is believed whose certificate is not known.
func TestRealEncryptedServers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 24*time.Hour)
	cert, key := certified(t)
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	encrypted := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(encrypted)
	r := servers.StartRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-auth-clients", "no")
	pg := servers.StartPostgresTLS(t, cert, key)

	dir := t.TempDir()
	setting := func(name, value string) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		w.env = append(w.env, name+"=", name+"_FILE="+path)
	}
	database := strings.Replace(pg.Database(t), "sslmode=disable", "sslmode=verify-full", 1)
	migrate := func(database string) (string, error) {
		out, err := exec.CommandContext(t.Context(), w.bin, "migrate", "--database-url", database).CombinedOutput()
		return string(out), err
	}
	if said, err := migrate(database); err == nil || !strings.Contains(said, "certificate") {
		t.Errorf("a Postgres that nobody vouches for: %v: %s", err, said)
	}
	database += "&sslrootcert=" + cert
	if said, err := migrate(database); err != nil {
		t.Fatalf("a Postgres that is vouched for: %v: %s", err, said)
	}
	setting("CLOSEOUT_DATABASE_URL", database)
	setting("CLOSEOUT_REDIS_URL", "rediss://"+encrypted+"/0")
	setting("CLOSEOUT_ALPACA_SECRET", demoSecret)

	doubting := w.start("worker", "--health-addr", "127.0.0.1:0")
	w.until("a Redis that nobody vouches for is not believed", func() bool {
		said := doubting.tail(100)
		return strings.Contains(said, "waiting for Redis") && strings.Contains(said, "certificate")
	})
	doubting.signal(syscall.SIGKILL)
	w.env = append(w.env, "SSL_CERT_FILE="+cert)
	w.serve()
	w.worker()
	account := w.account(sim.Spec{Cash: decimal.NewFromInt(100)})
	w.initiate(account)
	w.until("the payout", func() bool { return len(w.payouts(account)) > 0 })

	eyes := redis.NewClient(&redis.Options{Addr: r.Addr})
	defer func() { _ = eyes.Close() }()
	clients, err := eyes.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	over := 0
	for _, c := range strings.Split(strings.TrimSpace(clients), "\n") {
		switch {
		case strings.Contains(c, " laddr="+encrypted+" "):
			over++
		case !strings.Contains(c, "cmd=client"):
			t.Errorf("a connection in clear: %s", c)
		}
	}
	var sessions, clear int
	err = pg.Open(t, pg.URL("postgres", "postgres")).QueryRowContext(t.Context(),
		"SELECT count(*), count(*) FILTER (WHERE NOT ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_addr IS NOT NULL AND datname <> 'postgres'").Scan(&sessions, &clear)
	if err != nil || over == 0 || sessions == 0 || clear > 0 {
		t.Errorf("%d connections to Redis and %d to Postgres, %d of these in clear; %v", over, sessions, clear, err)
	}
	t.Logf("%d connections to Redis and %d to Postgres, all encrypted", over, sessions)
}
