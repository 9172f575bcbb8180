package server

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Keys are the API keys that the server knows from its settings, hashed. The zero value lets nobody in.
type Keys struct{ all []apiKey }

type apiKey struct {
	name   string
	sum    [sha256.Size]byte
	scopes []Scope
}

// everything is what a key of the setting may do: it is whoever runs the service that sets it.
var everything = []Scope{ScopeOperate}

// leastSecret is how long a secret must be. A name that is as long is never repeated in a complaint: it may be a secret
// whose place in the setting was mistaken.
const leastSecret = 16

var (
	keyName   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,31}$`)
	keySecret = regexp.MustCompile(`^[!-+\--~]+$`) // what a header can carry, but for commas
)

// ParseKeys reads CLOSEOUT_API_KEYS: name=secret, separated by commas. A name is the actor of what is done with its key.
// Each complaint names the entry by its place and name; none shows anything of a secret.
func ParseKeys(s string) (Keys, error) {
	if strings.TrimSpace(s) == "" {
		return Keys{}, errors.New("no API key is set; give at least one as name=secret")
	}
	var k Keys
	var wrong []error
	names, sums := map[string]int{}, map[[sha256.Size]byte]int{}
	for i, field := range strings.Split(s, ",") {
		where := fmt.Sprintf("API key %d", i+1)
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Errorf(where+": "+format, args...))
		}
		field = strings.TrimSpace(field)
		name, secret, ok := strings.Cut(field, "=")
		switch {
		case field == "":
			complain("is empty; remove the spare comma")
			continue
		case !ok:
			complain("must be written name=secret")
			continue
		case !keyName.MatchString(name):
			complain("its name must begin with a letter and have at most 32 letters, digits, dots, dashes and underscores")
			continue
		}
		if len(name) < leastSecret {
			where += " (" + name + ")"
		}
		if first, twice := names[name]; twice {
			complain("has the same name as API key %d", first)
			continue
		}
		names[name] = i + 1
		sum := sha256.Sum256([]byte(secret))
		switch first, twice := sums[sum]; {
		case len(secret) < leastSecret:
			complain("its secret must have at least %d characters", leastSecret)
		case !keySecret.MatchString(secret):
			complain("its secret must be of printable ASCII characters without spaces")
		case twice:
			complain("has the same secret as API key %d", first)
		default:
			sums[sum] = i + 1
			k.all = append(k.all, apiKey{name, sum, everything})
		}
	}
	if len(wrong) > 0 {
		return Keys{}, errors.Join(wrong...)
	}
	return k, nil
}

// DevKeys is the one key "dev" of the demo on this machine's own loopback. Everywhere else ParseKeys refuses it.
func DevKeys() Keys { return Keys{[]apiKey{{"dev", sha256.Sum256([]byte("dev")), everything}}} }

// Names are the keys' names, in the order of the setting.
func (k Keys) Names() []string {
	var names []string
	for _, one := range k.all {
		names = append(names, one.name)
	}
	return names
}

// String gives the names alone.
func (k Keys) String() string { return "keys of " + strings.Join(k.Names(), ", ") }

// GoString is String, for %#v.
func (k Keys) GoString() string { return k.String() }

// who is the name of the presented key, and what it may do. Every key is compared, each in constant time, so that the time taken tells nothing.
func (k Keys) who(presented string) (name string, scopes []Scope, found bool) {
	sum := sha256.Sum256([]byte(presented))
	for _, one := range k.all {
		if subtle.ConstantTimeCompare(sum[:], one.sum[:]) == 1 {
			name, scopes, found = one.name, one.scopes, true
		}
	}
	return name, scopes, found
}
