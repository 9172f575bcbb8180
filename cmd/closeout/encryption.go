package main

import (
	"slices"

	"github.com/redis/go-redis/v9"
	"github.com/sirupsen/logrus"

	"closeout/ledger"
)

// encryption is the one way around the rule that what leaves this machine is encrypted. To the broker and to a mail server
// there is none.
type encryption struct {
	Plaintext []string `env:"CLOSEOUT_PLAINTEXT" help:"redis, postgres or both: their connections may go over a network unencrypted, because it is a private one. Every start warns of it."`
}

// What CLOSEOUT_PLAINTEXT can name.
const (
	plainRedis    = "redis"
	plainPostgres = "postgres"
)

func (e encryption) check(bad *complaints) {
	for _, name := range e.Plaintext {
		if name != plainRedis && name != plainPostgres {
			bad.add("CLOSEOUT_PLAINTEXT", "may name redis and postgres, has %q", name)
		}
	}
}

// clear says whether a server would be spoken with in clear though nobody allowed it.
func (e encryption) clear(server string, hosts []ledger.Host) bool {
	return inClear(hosts) && !slices.Contains(e.Plaintext, server)
}

// inClear says whether one of the ways to a server goes over a network unencrypted.
func inClear(hosts []ledger.Host) bool {
	return slices.ContainsFunc(hosts, func(h ledger.Host) bool { return !h.Encrypted && !local(h) })
}

// unverified says whether on one of them whoever answers is believed: that keeps off who listens, and not who stands between.
func unverified(hosts []ledger.Host) bool {
	return slices.ContainsFunc(hosts, func(h ledger.Host) bool { return h.Encrypted && !h.Verified && !local(h) })
}

func local(h ledger.Host) bool { return h.Name == "" || loopback(h.Name) }

// warn tells at a start what is less than it could be.
func (r remote) warn(log *logrus.Logger, opts *redis.UniversalOptions) {
	database, _ := ledger.Hosts(r.DatabaseURL) // read by the check
	for _, s := range []struct {
		name, mend string
		hosts      []ledger.Host
	}{{"Redis", "CLOSEOUT_REDIS_URL without skip_verify", redisHosts(opts)}, {"Postgres", "sslmode=verify-full", database}} {
		switch {
		case inClear(s.hosts):
			log.Warn("the connections to " + s.name + " are not encrypted, as CLOSEOUT_PLAINTEXT allows")
		case unverified(s.hosts):
			log.Warn("the connections to " + s.name + " are encrypted, but whoever answers is believed: " + s.mend + " looks at the certificate")
		}
	}
}
