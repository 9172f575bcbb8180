//go:build linux

package checks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// stores starts Redis and Postgres as compose.yaml has them, and waits until their health checks pass.
func (e *engine) stores() {
	e.Helper()
	e.redis()
	e.postgres()
}

// redis is started by compose's own command line, as its user, with the volume as its folder as in the image.
func (e *engine) redis() {
	e.Helper()
	s := e.p.Services["redis"]
	uid, gid := owner(e.T, s.User)
	args := slices.Clone([]string(s.Command))
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "/run/secrets/", filepath.Join(e.dir, "secrets")+"/")
	}
	e.daemon("redis", e.folder(filepath.Join(e.dir, "volumes/redis"), uid, gid), &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, syscall.SIGTERM, args...)
	e.healthy("redis")
	if out, err := exec.CommandContext(e.Context(), "redis-cli", "-e", "-h", "127.0.0.2", "SET", "a", "b").CombinedOutput(); err == nil {
		e.Errorf("somebody without a password writes to Redis: %s", out)
	}
}

// postgres is made as the image's entrypoint makes it, by the environment's user, password and database and by the scripts beside it.
func (e *engine) postgres() {
	e.Helper()
	s := e.p.Services["postgres"]
	env := func(name string) string { return *s.Environment[name] }
	as, err := user.Lookup("postgres")
	e.must(err)
	uid, gid := owner(e.T, as.Uid+":"+as.Gid)
	who := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	data := e.folder(filepath.Join(e.dir, "volumes/postgres"), uid, gid)
	sockets := e.folder(filepath.Join(e.dir, "sockets"), uid, gid)
	run := func(args ...string) {
		e.Helper()
		cmd := exec.CommandContext(e.Context(), postgresProgram(e, args[0]), args[1:]...)
		cmd.Dir, cmd.SysProcAttr = data, &syscall.SysProcAttr{Credential: who}
		cmd.Env = append(os.Environ(), "LC_ALL=C", "PGHOST="+sockets, "PGUSER="+env("POSTGRES_USER"))
		if out, err := cmd.CombinedOutput(); err != nil {
			e.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
	password := strings.ReplaceAll(env("POSTGRES_PASSWORD_FILE"), "/run/secrets/", filepath.Join(e.dir, "secrets")+"/")
	run(slices.Concat([]string{"initdb", "-D", data, "--username=" + env("POSTGRES_USER"), "--pwfile=" + password, "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"},
		strings.Fields(env("POSTGRES_INITDB_ARGS")))...)
	rules, err := os.OpenFile(filepath.Join(data, "pg_hba.conf"), os.O_APPEND|os.O_WRONLY, 0)
	e.must(err)
	_, err = rules.WriteString("host all all all scram-sha-256\n")
	e.must(err)
	e.must(rules.Close())
	e.daemon("postgres", data, who, syscall.SIGINT, postgresProgram(e, "postgres"), "-D", data, "-c", "listen_addresses=*", "-c", "unix_socket_directories="+sockets, "-c", "fsync=off")
	e.healthy("postgres")
	run("psql", "-d", "postgres", "-c", "CREATE DATABASE "+env("POSTGRES_DB"))
	for _, v := range s.Volumes {
		if filepath.Dir(v.Target) == "/docker-entrypoint-initdb.d" {
			script := e.file(filepath.Join(e.dir, "initdb", filepath.Base(v.Target)), "")
			e.bind(v.Source, script)
			run("psql", "-v", "ON_ERROR_STOP=1", "-d", env("POSTGRES_DB"), "-f", script)
		}
	}
}

// postgresProgram is one of the newest installed Postgres's programs; Debian keeps them out of the PATH.
func postgresProgram(e *engine, name string) string {
	e.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	if len(found) > 0 {
		return slices.Max(found)
	}
	path, err := exec.LookPath(name)
	e.must(err)
	return path
}

// daemon starts a store, which ends with the test.
func (e *engine) daemon(name, dir string, as *syscall.Credential, quit os.Signal, args ...string) {
	e.Helper()
	cmd := exec.Command(args[0], args[1:]...) //nolint:noctx // the cleanup ends it
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: as, Pdeathsig: syscall.SIGKILL}
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	e.must(cmd.Start())
	e.Cleanup(func() {
		_ = cmd.Process.Signal(quit)
		_ = cmd.Wait()
		if e.Failed() {
			e.Logf("%s said:\n%s", name, said.String())
		}
	})
}

// healthy waits until compose's health check of a store passes.
func (e *engine) healthy(name string) {
	e.Helper()
	test := e.p.Services[name].HealthCheck.Test
	e.again(name+"'s health check", func(ctx context.Context) error {
		program := test[1]
		if program == "pg_isready" {
			program = postgresProgram(e, program)
		}
		return exec.CommandContext(ctx, program, test[2:]...).Run()
	})
}

// unheard is a broker who answers everything with 503, at the real one's name and port. Its authority takes the place of all in the
// image's file. What comes back are the paths that it was asked for.
func (e *engine) unheard() <-chan string {
	e.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	e.must(err)
	from := time.Now().Add(-time.Hour)
	self := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "an authority of the test"}, NotBefore: from, NotAfter: from.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, DNSNames: []string{"broker-api.sandbox.alpaca.markets"},
	}
	der, err := x509.CreateCertificate(rand.Reader, self, self, key.Public(), key)
	e.must(err)
	known := filepath.Join(e.image, authorities)
	text, err := os.ReadFile(known)
	e.must(err)
	e.must(os.WriteFile(known, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	e.Cleanup(func() { _ = os.WriteFile(known, text, 0o644) })
	ln, err := new(net.ListenConfig).Listen(e.Context(), "tcp", "127.0.0.4:443")
	e.must(err)
	asked := make(chan string, 1)
	server := &http.Server{
		ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case asked <- r.URL.Path:
			default:
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		}),
	}
	go func() { _ = server.ServeTLS(ln, "", "") }()
	e.Cleanup(func() { _ = server.Close() })
	return asked
}
