package mail

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"net/textproto"
	"regexp"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// sendTimeout is for a whole delivery, from the dialling to the server's last word. It is well below a notice's lease.
const sendTimeout = 30 * time.Second

// SMTP hands letters to a mail server. It may be used by several goroutines at once; each letter has a connection of its own.
type SMTP struct {
	server  server
	from    *netmail.Address
	domain  string
	timeout time.Duration
	roots   *x509.CertPool // nil: the system's
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
}

// New makes one for a server's URL and the address that letters come from, with or without a name: "Closeout
// <noreply@firm.example>". It connects to nothing yet.
//
//	smtp://user:password@host:587     STARTTLS is required, but for a server on this machine
//	smtps://user:password@host:465    TLS from the first byte
//	smtp+plain://localhost:1025       no encryption; only for a server on this machine
//
// No complaint repeats any part of the URL.
func New(url, from string) (*SMTP, error) {
	srv, err := parseServer(url)
	if err != nil {
		return nil, err
	}
	sender, domain, err := parseSender(from)
	if err != nil {
		return nil, err
	}
	return &SMTP{server: srv, from: sender, domain: domain, timeout: sendTimeout, dial: new(net.Dialer).DialContext}, nil
}

// Send hands one letter over. Sent again, it has the same Message-ID. Every error is an *Error, and Temporary says whether
// the letter may be tried again. A connection lost after the last word leaves open whether the server has it: that is
// temporary as well.
func (s *SMTP) Send(ctx context.Context, l Letter) error {
	message, err := s.message(l)
	if err != nil {
		return &Error{Doing: "write it", Permanent: true, Err: err, text: s.redact(err.Error(), l.To)}
	}
	within, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err = s.deliver(within, l.To.Address, message)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	if answer, ok := errors.AsType[*textproto.Error](e.Err); ok {
		e.Code = answer.Code
	}
	if e.Code == 0 && within.Err() != nil { // the closed connection is only what it came to
		e.Err = fmt.Errorf("%w (%w)", within.Err(), e.Err)
	}
	e.Permanent = e.Permanent && e.Code >= 500 && e.Code != 530 && e.Code != 535 // those two ask for credentials
	e.text = s.redact(e.Err.Error(), l.To)
	return e
}

// message is the letter as it goes over the wire.
func (s *SMTP) message(l Letter) ([]byte, error) {
	if l.ID == "" {
		return nil, errors.New("it has no id")
	}
	if err := parseRecipient(l.To.Address); err != nil {
		return nil, err
	}
	subject, text, html, err := Render(l)
	if err != nil {
		return nil, err
	}
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(s.from)
	name := strings.ReplaceAll(line(l.To.Name), `\`, "") // net/mail leaves it in an encoded word, where no reader takes it
	m.ToMailAddress(&netmail.Address{Name: name, Address: l.To.Address})
	m.Subject(subject)
	m.SetGenHeader(gomail.HeaderMessageID, l.MessageID(s.domain))
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader(gomail.HeaderXAutoResponseSuppress, "All")
	m.SetBodyString(gomail.TypeTextPlain, text)
	m.AddAlternativeString(gomail.TypeTextHTML, html)
	var b bytes.Buffer
	if _, err := m.WriteTo(&b); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// deliver speaks with the server. It drives go-mail's connection itself: go-mail's own Send says of a letter that was
// accepted that it failed when the goodbye does, keeps a lost connection from being told from a refusal, and does not
// look at the context once it is connected.
func (s *SMTP) deliver(ctx context.Context, to string, message []byte) error {
	var wire net.Conn
	stop := func() bool { return true }
	defer func() {
		stop()
		if wire != nil {
			wire.Close()
		}
	}()
	client, err := gomail.NewClient(s.server.host, s.options(func(dialing context.Context, network, addr string) (net.Conn, error) {
		conn, err := s.dial(dialing, network, addr)
		if err != nil {
			return nil, err
		}
		wire, stop = conn, context.AfterFunc(ctx, func() { conn.Close() })
		if s.server.security != implicitTLS {
			return conn, nil
		}
		encrypted := tls.Client(conn, s.tls())
		return encrypted, encrypted.HandshakeContext(dialing)
	})...)
	if err != nil {
		return &Error{Doing: "connect", Err: err}
	}
	session, err := client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return &Error{Doing: "connect", Err: err}
	}
	if err := session.Mail("<" + s.from.Address + ">"); err != nil {
		return &Error{Doing: "name the sender", Permanent: true, Err: err}
	}
	if err := session.Rcpt("<" + to + ">"); err != nil {
		return &Error{Doing: "name the recipient", Permanent: true, Err: err}
	}
	w, err := session.Data()
	if err != nil {
		return &Error{Doing: "hand it over", Permanent: true, Err: err}
	}
	_, err = w.Write(message)
	if closing := w.Close(); err == nil {
		err = closing // the server's answer to the whole letter
	}
	if err != nil {
		return &Error{Doing: "hand it over", Permanent: true, Err: err}
	}
	_ = session.Quit() // the letter is the server's now, whatever becomes of the goodbye
	return nil
}

func (s *SMTP) options(dial gomail.DialContextFunc) []gomail.Option {
	helo := s.domain
	if !strings.Contains(helo, ".") { // some servers refuse a name without a dot
		helo = "closeout." + helo
	}
	o := []gomail.Option{
		gomail.WithPort(s.server.port), gomail.WithTimeout(s.timeout), gomail.WithHELO(helo),
		gomail.WithTLSConfig(s.tls()), gomail.WithDialContextFunc(dial),
	}
	passwords := []gomail.SMTPAuthType{gomail.SMTPAuthPlain, gomail.SMTPAuthLogin}
	switch s.server.security {
	case startTLS:
		o = append(o, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case startTLSIfOffered:
		o = append(o, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	case implicitTLS:
		o = append(o, gomail.WithSSL())
	case plain:
		o = append(o, gomail.WithTLSPolicy(gomail.NoTLS))
	}
	if isLoopback(s.server.host) { // there, and only there, a password may travel in the clear
		passwords = []gomail.SMTPAuthType{gomail.SMTPAuthPlainNoEnc, gomail.SMTPAuthLoginNoEnc}
	}
	if s.server.user != "" {
		o = append(o, gomail.WithUsername(s.server.user), gomail.WithPassword(s.server.password()), gomail.WithOpportunisticSMTPAuth(passwords...))
	}
	return o
}

func (s *SMTP) tls() *tls.Config {
	return &tls.Config{ServerName: s.server.host, RootCAs: s.roots, MinVersion: tls.VersionTLS12}
}

var addresses = regexp.MustCompile(`[^\s<>"',;:()]+@[^\s<>"',;:()]+`)

// redact takes out of a server's words what must not come into a log or the ledger.
func (s *SMTP) redact(text string, to Recipient) string {
	text = line(text)
	if name := line(to.Name); name != "" {
		text = strings.ReplaceAll(text, name, "(name)")
	}
	if p := s.server.password(); p != "" {
		text = strings.ReplaceAll(text, p, "(password)")
	}
	return addresses.ReplaceAllString(text, "(address)")
}
