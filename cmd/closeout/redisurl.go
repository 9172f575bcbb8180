package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"closeout/ledger"
)

// redisForms are the ways to say where Redis is, in the words of complaints.
const redisForms = "redis://, rediss://, redis-sentinel://, rediss-sentinel://, redis-cluster://, rediss-cluster:// or unix://"

// parseRedis reads where Redis is:
//
//	redis://user:password@host:6379/0
//	redis-sentinel://user:password@sentinel1:26379,sentinel2:26379/0?master=NAME&sentinel_username=USER&sentinel_password=PASSWORD
//	redis-cluster://user:password@host1:6379,host2:6379
//
// each as rediss… over TLS, with ca_file, cert_file and key_file, server_name and skip_verify. go-redis has a form of its own for
// each kind, all of which begin with redis://, so that a URL would not say which it is; user and password are Redis's in all of
// these. No error repeats what may be a part of a password.
func parseRedis(text string) (*redis.UniversalOptions, error) {
	scheme, rest, found := strings.Cut(text, "://")
	scheme, kind, several := strings.Cut(scheme, "-")
	if !found || scheme != "redis" && scheme != "rediss" && scheme != "unix" || several && (scheme == "unix" || kind != "sentinel" && kind != "cluster") {
		return nil, errors.New("is no URL that begins with " + redisForms)
	}
	end := len(rest)
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		end = i
	}
	at := strings.LastIndex(rest[:end], "@") + 1
	hosts := strings.Split(rest[at:end], ",")
	if len(hosts) > 1 && !several {
		return nil, errors.New("names several hosts: those of Sentinels want redis-sentinel:// or rediss-sentinel://, those of a cluster redis-cluster:// or rediss-cluster://")
	}
	o, err := redisBase(scheme+"://"+rest[:at]+hosts[0]+rest[end:], kind)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "sentinel":
		o.Addrs, err = hostPorts(hosts, "26379")
	case "cluster":
		o.Addrs, err = hostPorts(hosts, "6379")
		o.IsClusterMode = true
		if o.DB != 0 {
			err = errors.New("names a database by number, and a cluster has one alone: leave it out")
		}
	}
	return o, err
}

// redisBase reads all of a URL with one host but its kind.
func redisBase(text, kind string) (*redis.UniversalOptions, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errUnreadableRedis
	}
	q := u.Query()
	own := func(name string) (value string) {
		value = q.Get(name)
		q.Del(name)
		return value
	}
	var o redis.UniversalOptions
	if kind == "sentinel" {
		if o.MasterName = own("master"); o.MasterName == "" {
			return nil, errors.New("names Sentinels and not which of their masters: add ?master=NAME, as sentinel.conf has it after \"sentinel monitor\"")
		}
		o.SentinelUsername, o.SentinelPassword = own("sentinel_username"), own("sentinel_password")
	}
	ca, cert, key, name := own("ca_file"), own("cert_file"), own("key_file"), own("server_name")
	u.RawQuery = q.Encode()
	s, err := redis.ParseURL(u.String())
	if err != nil {
		return nil, errUnreadableRedis
	}
	if s.TLSConfig == nil && cmp.Or(ca, cert, key, name) != "" {
		return nil, errors.New("has a parameter of TLS, which the schemes that begin with rediss speak alone")
	}
	if s.TLSConfig != nil {
		if kind != "" { // each server by the address that it is reached at
			s.TLSConfig.ServerName = ""
		}
		s.TLSConfig.ServerName = cmp.Or(name, s.TLSConfig.ServerName)
		if err := certificates(s.TLSConfig, ca, cert, key); err != nil {
			return nil, err
		}
	}
	universal(&o, s)
	return &o, nil
}

var errUnreadableRedis = errors.New("can't be read: want " + redisForms + ", with special characters in a password percent-encoded and no parameter that is not known")

// universal takes over what ParseURL can set. TestRedisParametersReachEveryKind holds it to that.
func universal(o *redis.UniversalOptions, s *redis.Options) {
	o.Addrs, o.DB, o.Username, o.Password, o.TLSConfig = []string{s.Addr}, s.DB, s.Username, s.Password, s.TLSConfig
	o.Protocol, o.ClientName = s.Protocol, s.ClientName
	o.MaxRetries, o.MinRetryBackoff, o.MaxRetryBackoff = s.MaxRetries, s.MinRetryBackoff, s.MaxRetryBackoff
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = s.DialTimeout, s.ReadTimeout, s.WriteTimeout
	o.PoolFIFO, o.PoolSize, o.PoolTimeout = s.PoolFIFO, s.PoolSize, s.PoolTimeout
	o.MinIdleConns, o.MaxIdleConns, o.MaxActiveConns, o.MaxConcurrentDials = s.MinIdleConns, s.MaxIdleConns, s.MaxActiveConns, s.MaxConcurrentDials
	o.PipelinePoolSize, o.PipelineReadBufferSize, o.PipelineWriteBufferSize = s.PipelinePoolSize, s.PipelineReadBufferSize, s.PipelineWriteBufferSize
	o.ConnMaxIdleTime, o.ConnMaxLifetime, o.ConnMaxLifetimeJitter = s.ConnMaxIdleTime, s.ConnMaxLifetime, s.ConnMaxLifetimeJitter
}

// certificates reads an authority, which then is trusted alone, and a client's certificate.
func certificates(c *tls.Config, ca, cert, key string) error {
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return fmt.Errorf("ca_file %w", unreadable(err))
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return errors.New("ca_file names a file without a certificate in PEM")
		}
	}
	if (cert == "") != (key == "") {
		return errors.New("has one of cert_file and key_file, and a client's certificate wants both")
	}
	if cert == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if e := new(os.PathError); errors.As(err, &e) {
		return fmt.Errorf("cert_file or key_file %w", unreadable(err))
	}
	if err != nil {
		return fmt.Errorf("cert_file and key_file are no certificate and its key in PEM: %w", err)
	}
	c.Certificates = []tls.Certificate{pair}
	return nil
}

// hostPorts gives each host a port.
func hostPorts(hosts []string, port string) (addrs []string, err error) {
	for _, h := range hosts {
		u, err := url.Parse("redis://" + h)
		if err != nil || u.Hostname() == "" || u.Host != h {
			return nil, errors.New("names a host that can't be read: want host:port, several with commas between them")
		}
		addrs = append(addrs, net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port)))
	}
	return addrs, nil
}

// redisHosts are the ways to a Redis that its URL names. Sentinels and a cluster's nodes name others: see keepIn.
func redisHosts(o *redis.UniversalOptions) (hosts []ledger.Host) {
	for _, addr := range o.Addrs {
		h := ledger.Host{Encrypted: o.TLSConfig != nil, Verified: o.TLSConfig != nil && !o.TLSConfig.InsecureSkipVerify}
		if !strings.HasPrefix(addr, "/") { // a socket otherwise
			h.Name = hostOf(addr)
		}
		hosts = append(hosts, h)
	}
	return hosts
}

func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// keepIn refuses to speak in clear with a server that is not on this machine, whoever named it.
func keepIn(o *redis.UniversalOptions) {
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if network != "unix" && !loopback(hostOf(addr)) {
			return nil, fmt.Errorf("a Sentinel or a node of the cluster names %s, with which this would be spoken unencrypted over the network: write rediss in CLOSEOUT_REDIS_URL and have Redis speak TLS; or say CLOSEOUT_PLAINTEXT=redis", addr)
		}
		return (&net.Dialer{Timeout: cmp.Or(o.DialTimeout, 5*time.Second), KeepAlive: 5 * time.Minute}).DialContext(ctx, network, addr)
	}
}
