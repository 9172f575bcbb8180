package ledger

import (
	"crypto/tls"

	"github.com/jackc/pgx/v5/pgconn"
)

// Host is one of the ways in which a ledger's Postgres is reached.
type Host struct {
	Name      string // "" for a socket of this machine
	Encrypted bool
	Verified  bool // whether the server's certificate is looked at
}

// Hosts are all the ways in which a URL leads to a Postgres, those that are only tried after others among them: without
// sslmode in the URL, a server that speaks no TLS is spoken with in clear. A SQLite has none.
func Hosts(url string) ([]Host, error) {
	if sqliteFile(url) != "" {
		return nil, nil
	}
	cfg, err := parsePostgres(url)
	if err != nil {
		return nil, err
	}
	out := []Host{hostOf(cfg.Host, cfg.Port, cfg.TLSConfig)}
	for _, f := range cfg.Fallbacks {
		out = append(out, hostOf(f.Host, f.Port, f.TLSConfig))
	}
	return out, nil
}

func hostOf(name string, port uint16, c *tls.Config) Host {
	if network, _ := pgconn.NetworkAddress(name, port); network == "unix" {
		name = ""
	}
	return Host{name, c != nil, c != nil && (!c.InsecureSkipVerify || c.VerifyPeerCertificate != nil)}
}
