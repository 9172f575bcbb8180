package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"
)

// Passwords are the operators whom the settings name, each with the bcrypt hash of a password. The zero value has none.
type Passwords struct{ all []password }

type password struct {
	name string
	hash []byte
}

const (
	// leastCost is how hard a hash must be to guess at; bcrypt's own default, some 60 ms of a core.
	leastCost = bcrypt.DefaultCost
	// maxCost keeps one sign-in from taking a core for minutes.
	maxCost = 15
	// LeastPassword is how many characters MakePassword asks for.
	LeastPassword = 12
)

var operatorName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._-]{0,31}$`)

// ParsePasswords reads CLOSEOUT_OPERATORS: name:hash, several with commas. Each complaint names the entry by its place; none
// shows anything of a hash, or of a password that was mistaken for one.
func ParsePasswords(s string) (Passwords, error) {
	var p Passwords
	var wrong []error
	seen := map[string]bool{}
	for i, field := range strings.Split(s, ",") {
		complain := func(format string, args ...any) {
			wrong = append(wrong, fmt.Errorf("operator %d: "+format, append([]any{i + 1}, args...)...))
		}
		name, hash, ok := strings.Cut(strings.TrimSpace(field), ":")
		if !ok || !operatorName.MatchString(name) {
			complain("must be written name:hash, and the name begin with a letter and have at most 32 letters, digits, dots, dashes and underscores")
			continue
		}
		cost, err := bcrypt.Cost([]byte(hash))
		switch {
		case err != nil:
			complain("has no bcrypt hash behind its name; closeout keys operator NAME makes one (in a shell or a compose file mind the $)")
		case cost < leastCost || cost > maxCost:
			complain("has a hash of the cost %d; it must lie between %d and %d", cost, leastCost, maxCost)
		case seen[name]:
			complain("has the name of one before it")
		default:
			seen[name] = true
			p.all = append(p.all, password{name, []byte(hash)})
		}
	}
	return p, errors.Join(wrong...)
}

// MakePassword is one entry of CLOSEOUT_OPERATORS.
func MakePassword(name, secret string) (string, error) {
	if !operatorName.MatchString(name) {
		return "", errors.New("the name must begin with a letter and have at most 32 letters, digits, dots, dashes and underscores")
	}
	if len([]rune(secret)) < LeastPassword {
		return "", fmt.Errorf("the password must have at least %d characters", LeastPassword)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), leastCost+2)
	if errors.Is(err, bcrypt.ErrPasswordTooLong) {
		return "", errors.New("the password must have at most 72 bytes")
	}
	if err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	return name + ":" + string(hash), nil
}

// String gives the names alone.
func (p Passwords) String() string {
	var names []string
	for _, one := range p.all {
		names = append(names, one.name)
	}
	return "operators " + strings.Join(names, ", ")
}

// GoString is String, for %#v.
func (p Passwords) GoString() string { return p.String() }

// check says whether this is the password of that name. A name that nobody has takes as long as one that somebody has.
func (p Passwords) check(name, secret string) bool {
	if len(p.all) == 0 {
		return false
	}
	against, known := p.all[0], false
	for _, one := range p.all {
		if one.name == name {
			against, known = one, true
		}
	}
	return bcrypt.CompareHashAndPassword(against.hash, []byte(secret)) == nil && known
}

// proof is what a session rests on that began with this name's password: it ends with the name, and with the password. "" if
// there is no such name.
func (p Passwords) proof(name string) string {
	for _, one := range p.all {
		if one.name == name {
			sum := sha256.Sum256(one.hash)
			return hex.EncodeToString(sum[:8])
		}
	}
	return ""
}

// throttle counts attempts to sign in by name and by address, in this process. Successful ones count too: nobody needs many.
type throttle struct {
	hands chan struct{} // bcrypt costs CPU, of which the API wants some

	mu    sync.Mutex
	names map[string]*rate.Limiter
	addrs map[netip.Prefix]*rate.Limiter
}

// How many attempts there may be at once, and how soon there may be one more.
const (
	nameBurst, nameEvery = 10, 30 * time.Second
	addrBurst, addrEvery = 20, 10 * time.Second
	// throttled is how many names and addresses are remembered before those are forgotten that have been quiet.
	throttled = 4096
)

func newThrottle() *throttle {
	return &throttle{hands: make(chan struct{}, 2), names: map[string]*rate.Limiter{}, addrs: map[netip.Prefix]*rate.Limiter{}}
}

// attempt says whether one more may be made.
func (t *throttle) attempt(name string, addr netip.Prefix) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	// Both are counted, or who has used one of them up could go on with the other.
	byName, byAddr := counted(t.names, name, nameBurst, nameEvery), counted(t.addrs, addr, addrBurst, addrEvery)
	return byName && byAddr
}

func counted[K comparable](all map[K]*rate.Limiter, key K, burst int, every time.Duration) bool {
	l := all[key]
	if l == nil {
		if len(all) >= throttled {
			for k, l := range all {
				if l.Tokens() >= float64(burst) {
					delete(all, k)
				}
			}
		}
		if len(all) >= throttled { // none was quiet: somebody tries names at random
			return false
		}
		l = rate.NewLimiter(rate.Every(every), burst)
		all[key] = l
	}
	return l.Allow()
}

// hand waits for a turn to compare a password.
func (t *throttle) hand(ctx context.Context) (done func(), err error) {
	select {
	case t.hands <- struct{}{}:
		return func() { <-t.hands }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// address is where a request comes from: a network of IPv6, which one person can have all of, counts as one. Behind a proxy it
// is what the proxy says, whose word stands last.
func address(r *http.Request, proxied bool) netip.Prefix {
	text := r.RemoteAddr
	if forwarded := r.Header.Values("X-Forwarded-For"); proxied && len(forwarded) > 0 {
		parts := strings.Split(forwarded[len(forwarded)-1], ",")
		text = strings.TrimSpace(parts[len(parts)-1])
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		p, err := netip.ParseAddrPort(text)
		if err != nil {
			return netip.Prefix{}
		}
		a = p.Addr()
	}
	a = a.Unmap()
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.WithZone("").Prefix(bits) // never more bits than it has
	return p
}

func printable(r rune) bool { return unicode.IsPrint(r) && r != unicode.ReplacementChar }
