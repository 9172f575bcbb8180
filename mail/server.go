package mail

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// security is how the connection is encrypted.
type security int

const (
	startTLS security = iota // required
	startTLSIfOffered
	implicitTLS
	plain
)

// server is where letters are handed over.
type server struct {
	host     string
	port     int
	security security
	user     string
	password func() string // a function, so that no %+v prints it
}

// parseServer reads the URL. What it complains of, it does not repeat: with a / or # in an unescaped password, any part
// of the URL may be a piece of it.
func parseServer(raw string) (server, error) {
	const want = "want smtp://user:password@host:587 or smtps://user:password@host:465, special characters in user and password as %XX"
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" || u.Hostname() == "" {
		return server{}, errors.New("the mail server's URL can't be read: " + want)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return server{}, errors.New("the mail server's URL goes on after the host: " + want)
	}
	s := server{host: u.Hostname(), password: func() string { return "" }}
	local := isLoopback(s.host)
	switch u.Scheme {
	case "smtp":
		s.port, s.security = 587, startTLS
		if local {
			s.security = startTLSIfOffered
		}
	case "smtps":
		s.port, s.security = 465, implicitTLS
	case "smtp+plain":
		s.port, s.security = 25, plain
		if !local {
			return server{}, errors.New("smtp+plain is for a mail server on this machine only (localhost, 127.0.0.1, ::1): letters do not cross a network unencrypted")
		}
	default:
		return server{}, errors.New("the mail server's URL has a scheme that is not known: " + want)
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil || s.port < 1 || s.port > 65535 {
			return server{}, errors.New("the mail server's port is not between 1 and 65535: " + want)
		}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		if s.user = u.User.Username(); s.user == "" || password == "" {
			return server{}, errors.New("the mail server's URL needs both user and password, or neither: " + want)
		}
		s.password = func() string { return password }
	}
	return s, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.Unmap().IsLoopback()
}

// parseSender reads "Closeout <noreply@firm.example>" or the bare address, and gives its domain too.
func parseSender(from string) (*netmail.Address, string, error) {
	a, err := netmail.ParseAddress(from)
	if err != nil {
		return nil, "", fmt.Errorf("the letters' sender %q is no address: want Name <noreply@firm.example>", from)
	}
	domain := a.Address[strings.LastIndexByte(a.Address, '@')+1:]
	if strings.ContainsFunc(domain, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("[]<>()", r) }) {
		return nil, "", fmt.Errorf("the domain of the letters' sender %q must be a plain name (an international one as xn--...)", from)
	}
	return a, domain, nil
}

// parseRecipient takes one bare address and nothing else.
func parseRecipient(address string) error {
	a, err := netmail.ParseAddress("<" + address + ">")
	if err != nil || a.Address != address {
		return errors.New("the recipient's address is not valid")
	}
	return nil
}
