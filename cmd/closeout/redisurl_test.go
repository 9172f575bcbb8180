package main

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestRedisURLs(t *testing.T) {
	cert, key := certified(t)
	noCert := filepath.Join(t.TempDir(), "nothing.pem")
	if err := os.WriteFile(noCert, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for url, want := range map[string]struct {
		addrs    string
		kind     string // one, sentinel, cluster
		db       int
		user     string // user:password
		sentinel string // user:password of the Sentinels
		tls      string // none, or the name that the certificate must have; "each": the address's
		refused  string // what a complaint must say
	}{
		"redis://127.0.0.1:6379/3":                       {addrs: "127.0.0.1:6379", kind: "one", db: 3},
		"redis:///0":                                     {addrs: "localhost:6379", kind: "one"},
		"redis://u:hunter2@[::1]/":                       {addrs: "[::1]:6379", kind: "one", user: "u:hunter2"},
		"rediss://:hunter2@r.example:1/2?pool_size=7":    {addrs: "r.example:1", kind: "one", db: 2, user: ":hunter2", tls: "r.example"},
		"rediss://10.0.0.5?server_name=r.example":        {addrs: "10.0.0.5:6379", kind: "one", tls: "r.example"},
		"unix://u:hunter2@/run/redis.sock?db=1":          {addrs: "/run/redis.sock", kind: "one", db: 1, user: "u:hunter2"},
		"redis-sentinel://s1,s2:5,[::1]:6/2?master=main": {addrs: "s1:26379 s2:5 [::1]:6", kind: "sentinel", db: 2},
		"redis-sentinel://u:hunter2%2C%40@s1,s2?master=main&sentinel_password=hunter22": {addrs: "s1:26379 s2:26379", kind: "sentinel", user: "u:hunter2,@", sentinel: ":hunter22"},
		"rediss-sentinel://s1?master=m&sentinel_username=v&sentinel_password=hunter2":   {addrs: "s1:26379", kind: "sentinel", sentinel: "v:hunter2", tls: "each"},
		"rediss-sentinel://s1,s2?master=m&server_name=redis.internal":                   {addrs: "s1:26379 s2:26379", kind: "sentinel", tls: "redis.internal"},
		"redis-cluster://c1":                              {addrs: "c1:6379", kind: "cluster"},
		"redis-cluster://u:hunter2@c1,c2:7/0":             {addrs: "c1:6379 c2:7", kind: "cluster", user: "u:hunter2"},
		"rediss-cluster://u:hunter2@c1:1,c2:2":            {addrs: "c1:1 c2:2", kind: "cluster", user: "u:hunter2", tls: "each"},
		"rediss-cluster://c1?cert_file=CERT&key_file=KEY": {addrs: "c1:6379", kind: "cluster", tls: "each"},
		"rediss-cluster://c1?ca_file=CERT":                {addrs: "c1:6379", kind: "cluster", tls: "each"},

		"hunter2":                                                    {refused: "is no URL that begins with"},
		"http://u:hunter2@h":                                         {refused: "is no URL that begins with"},
		"redis-ring://u:hunter2@h":                                   {refused: "is no URL that begins with"},
		"unix-cluster://u:hunter2@/x":                                {refused: "is no URL that begins with"},
		"redis+sentinel://u:hunter2@h":                               {refused: "is no URL that begins with"},
		"redis://u:hunter2@h1,h2":                                    {refused: "names several hosts"},
		"redis://u:hunter2@[":                                        {refused: "can't be read"},
		"redis://u:hunter2@h?hunter2=1":                              {refused: "can't be read"},
		"redis://u:hun/ter2@h":                                       {refused: "can't be read"},
		"redis-sentinel://u:hunter2@s1":                              {refused: "add ?master=NAME"},
		"redis-sentinel://u:hunter2@s1,?master=m":                    {refused: "names a host"},
		"redis-cluster://u:hunter2@c1,c2:x":                          {refused: "names a host"},
		"redis-cluster://u:hunter2@c1/1":                             {refused: "a cluster has one"},
		"redis-cluster://u:hunter2@c1?master=m":                      {refused: "can't be read"},
		"rediss-cluster://c1?read_only=true":                         {refused: "can't be read"},
		"redis://u:hunter2@h?ca_file=CERT":                           {refused: "has a parameter of TLS"},
		"redis://u:hunter2@h?skip_verify=true":                       {refused: "can't be read"},
		"rediss://u:hunter2@h?ca_file=/hunter2/none":                 {refused: "ca_file names a file that can't be read: no such file"},
		"rediss://u:hunter2@h?ca_file=NOCERT":                        {refused: "without a certificate"},
		"rediss://u:hunter2@h?cert_file=CERT":                        {refused: "wants both"},
		"rediss://u:hunter2@h?cert_file=CERT&key_file=/hunter2/none": {refused: "names a file that can't be read"},
		"rediss://u:hunter2@h?cert_file=CERT&key_file=NOCERT":        {refused: "are no certificate"},
	} {
		o, err := parseRedis(strings.NewReplacer("NOCERT", noCert, "CERT", cert, "KEY", key).Replace(url))
		if want.refused != "" {
			if err == nil || !strings.Contains(err.Error(), want.refused) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s must be refused with %q: %v", url, want.refused, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		pair := func(user, password string) string { return strings.TrimSuffix(user+":"+password, ":") }
		kind := "one"
		switch {
		case o.IsClusterMode:
			kind = "cluster"
		case o.MasterName != "":
			kind = "sentinel"
		}
		if got := strings.Join(o.Addrs, " "); got != want.addrs || kind != want.kind || o.DB != want.db ||
			pair(o.Username, o.Password) != want.user || pair(o.SentinelUsername, o.SentinelPassword) != want.sentinel {
			t.Errorf("%s is read as %s %s, database %d", url, kind, got, o.DB)
		}
		name := ""
		if o.TLSConfig != nil {
			if name = o.TLSConfig.ServerName; name == "" {
				name = "each"
			}
			if (o.TLSConfig.RootCAs != nil) != strings.Contains(url, "ca_file") || len(o.TLSConfig.Certificates) > 0 != strings.Contains(url, "cert_file") || o.TLSConfig.MinVersion < tls.VersionTLS12 {
				t.Errorf("%s: %+v", url, o.TLSConfig)
			}
		}
		if name != want.tls {
			t.Errorf("%s wants certificates of %q, want %q", url, name, want.tls)
		}
		rdb := redis.NewUniversalClient(o)
		_, cluster := rdb.(*redis.ClusterClient)
		if cluster != (kind == "cluster") {
			t.Errorf("%s makes a %T", url, rdb)
		}
		_ = rdb.Close()
	}
	if o, err := parseRedis("redis:///0"); err != nil || inClear(redisHosts(o)) {
		t.Errorf("an address without a host is this machine's: %v, %+v", err, redisHosts(o))
	}
	if !inClear(redisHosts(&redis.UniversalOptions{Addrs: []string{"localhost:1", "redis.firm.example"}})) {
		t.Error("an address without a port counts as this machine's")
	}
}

// TestRedisParametersReachEveryKind: whatever go-redis reads from a URL is the same by our forms.
func TestRedisParametersReachEveryKind(t *testing.T) {
	const parameters = "protocol=2&client_name=me&max_retries=3&min_retry_backoff=4s&max_retry_backoff=5s&dial_timeout=6s&read_timeout=7s&write_timeout=8s&pool_fifo=true&" +
		"pool_size=9&pool_timeout=10s&min_idle_conns=11&max_idle_conns=12&max_active_conns=13&max_concurrent_dials=14&pipeline_pool_size=15&pipeline_read_buffer_size=16&" +
		"pipeline_write_buffer_size=17&conn_max_idle_time=18s&conn_max_lifetime=19s&conn_max_lifetime_jitter=1s"
	want, err := redis.ParseURL("redis://u:p@h:1?" + parameters)
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{"redis://u:p@h:1?" + parameters, "redis-sentinel://u:p@h:1?master=m&" + parameters, "redis-cluster://u:p@h:1?" + parameters} {
		o, err := parseRedis(url)
		if err != nil {
			t.Fatal(err)
		}
		set := 0
		for f, v := range reflect.ValueOf(*want).Fields() {
			if v.IsZero() || f.Name == "Addr" || f.Name == "Network" || !f.IsExported() {
				continue
			}
			set++
			if got := reflect.ValueOf(*o).FieldByName(f.Name); !got.IsValid() || !got.Equal(v) {
				t.Errorf("%s: %s is %v, want %v", url, f.Name, got, v)
			}
		}
		if set < strings.Count(parameters, "=")+2 {
			t.Errorf("only %d fields were compared", set)
		}
	}
}

// TestASentinelCantLeadOutOfTheMachine in clear, whatever it says.
func TestASentinelCantLeadOutOfTheMachine(t *testing.T) {
	for _, url := range []string{"redis-sentinel://127.0.0.1?master=m", "redis-cluster://localhost"} {
		var bad complaints
		o := queueStore{url}.options(encryption{}, &bad)
		if len(bad) > 0 {
			t.Fatal(bad.err())
		}
		if _, err := o.Dialer(t.Context(), "tcp", "192.0.2.1:6379"); err == nil || !strings.Contains(err.Error(), "CLOSEOUT_PLAINTEXT=redis") {
			t.Errorf("%s: %v", url, err)
		}
		if _, err := o.Dialer(t.Context(), "tcp", "127.0.0.1:1"); err == nil || strings.Contains(err.Error(), "CLOSEOUT") {
			t.Errorf("%s, to this machine: %v", url, err)
		}
		if o = (queueStore{url}).options(encryption{Plaintext: []string{"redis"}}, &bad); o.Dialer != nil {
			t.Errorf("%s is kept in though CLOSEOUT_PLAINTEXT allows it", url)
		}
	}
}

// TestPasswordsOfAddressesAreMasked, of those with several hosts and of those in parameters too.
func TestPasswordsOfAddressesAreMasked(t *testing.T) {
	for url, want := range map[string]string{
		"redis://u:hunter22@h/0":                                               "hunter22",
		"redis-cluster://u:hunter%2C2@h1:1,h2:2":                               "hunter%2C2 hunter%2C2 hunter,2",
		"rediss-sentinel://:hunter22@s1,s2?master=m&sentinel_password=secret7": "hunter22 secret7",
		"postgres://u:hunter22@h1:1,h2:2/c?sslpassword=another":                "another hunter22",
		"postgres:///c?user=u&password=hunter22":                               "hunter22",
		"postgres://postgres:postgres@h/c":                                     "",
		"redis://h":                                                            "",
	} {
		var s secrets
		s.learnURL(url)
		slices.Sort(s.known)
		if url != "redis-cluster://u:hunter%2C2@h1:1,h2:2" {
			s.known = slices.Compact(s.known)
		}
		if got := strings.Join(s.known, " "); got != want {
			t.Errorf("%s: learnt %q, want %q", url, got, want)
		}
	}
}
