package mail_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/google/go-cmp/cmp"

	"closeout/mail"
)

const sender = "Closeout <noreply@firm.example>"

// office is a mail server on loopback that says what a test wants it to say.
type office struct {
	Addr string

	greet, atMail, atRcpt, atData error
	user, password                string
	arrived                       chan struct{} // if any: RCPT signals here, and then waits for the connection's end
	hold                          chan struct{}

	mu     sync.Mutex
	helos  []string
	secure []bool
	got    []delivery
}

type delivery struct {
	From, To string
	Raw      []byte
}

func (o *office) open(t *testing.T, config *tls.Config, implicit bool) *office {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	o.Addr = l.Addr().String()
	if implicit {
		l = tls.NewListener(l, config)
	}
	s := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		_, secure := c.TLSConnectionState()
		o.mu.Lock()
		defer o.mu.Unlock()
		o.helos, o.secure = append(o.helos, c.Hostname()), append(o.secure, secure)
		return &visit{office: o}, o.greet
	}))
	s.Domain, s.TLSConfig, s.AllowInsecureAuth, s.ErrorLog = "office.example", config, true, log.New(io.Discard, "", 0)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { _, _ = s.Close(), l.Close(); <-done }) // both: a server that does not serve yet closes no listener
	return o
}

type visit struct {
	*office
	now    delivery
	authed bool
}

func (v *visit) AuthMechanisms() []string {
	if v.user == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (v *visit) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if v.authed = user == v.user && password == v.password; !v.authed {
			return &smtp.SMTPError{Code: 535, EnhancedCode: smtp.EnhancedCode{5, 7, 8}, Message: "no, " + user + " " + password}
		}
		return nil
	}), nil
}

func (v *visit) Mail(from string, _ *smtp.MailOptions) error {
	if v.user != "" && !v.authed {
		return &smtp.SMTPError{Code: 530, EnhancedCode: smtp.EnhancedCode{5, 7, 0}, Message: "authentication required"}
	}
	v.now.From = from
	return v.atMail
}

func (v *visit) Rcpt(to string, _ *smtp.RcptOptions) error {
	if v.arrived != nil {
		v.arrived <- struct{}{}
		<-v.hold
	}
	v.now.To = to
	return v.atRcpt
}

func (v *visit) Data(r io.Reader) error {
	var err error
	if v.now.Raw, err = io.ReadAll(r); err != nil {
		return err
	}
	if v.atData != nil {
		return v.atData
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.got = append(v.got, v.now)
	return nil
}

func (v *visit) Reset()        {}
func (v *visit) Logout() error { return nil }

func (o *office) delivered() []delivery {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]delivery(nil), o.got...)
}

func post(t *testing.T, url string) *mail.SMTP {
	t.Helper()
	s, err := mail.New(url, sender)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// certificate is one for 127.0.0.1 and example.com, and a pool that trusts it.
func certificate(t *testing.T) (*tls.Config, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12}, pool
}

func TestSendDelivers(t *testing.T) {
	t.Parallel()
	o := new(office).open(t, nil, false)
	s := post(t, "smtp://"+o.Addr)
	l := mail.Example(mail.Completed)
	l.To.Name = "Zoë\r\nBcc: <eve@evil.example>"
	for range 2 {
		if err := s.Send(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	got := o.delivered()
	if len(got) != 2 || got[0].From != "noreply@firm.example" || got[0].To != "ada@customer.example" {
		t.Fatalf("got %+v", got)
	}
	if diff := cmp.Diff([]string{"firm.example", "firm.example"}, o.helos); diff != "" {
		t.Error(diff)
	}
	first, second := parsed(t, got[0]), parsed(t, got[1])
	header := first.message.Header
	if id := header.Get("Message-ID"); id != l.MessageID("firm.example") || id != second.message.Header.Get("Message-ID") {
		t.Errorf("Message-ID %q, then %q", id, second.message.Header.Get("Message-ID"))
	}
	if l.ID = "another/2/completed"; l.MessageID("firm.example") == header.Get("Message-ID") {
		t.Error("two letters have the same Message-ID")
	}
	for name, want := range map[string]string{
		"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All", "Bcc": "", "User-Agent": "", "X-Mailer": "",
		"Subject": "Account closing completed - CLA-20260302150400-4f2a9c", "From": `"Closeout" <noreply@firm.example>`,
	} {
		if got := header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	to, err := header.AddressList("To")
	if err != nil || len(to) != 1 || *to[0] != (netmail.Address{Name: "Zoë Bcc: <eve@evil.example>", Address: "ada@customer.example"}) {
		t.Errorf("To %v, %v", to, err)
	}
	_, text, html, err := mail.Render(l)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"text/plain": text, "text/html": html}
	if diff := cmp.Diff(want, first.parts); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"text/plain", "text/html"}, first.order); diff != "" {
		t.Errorf("the last part is the one that is preferred: %s", diff)
	}
}

type read struct {
	message *netmail.Message
	parts   map[string]string
	order   []string
}

func parsed(t *testing.T, d delivery) read {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(d.Raw))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("Content-Type %q, %v", kind, err)
	}
	r := read{message: m, parts: map[string]string{}}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _, _ := mime.ParseMediaType(p.Header.Get("Content-Type"))
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		r.parts[kind] = strings.TrimRight(strings.ReplaceAll(string(body), "\r\n", "\n"), "\n") + "\n"
		r.order = append(r.order, kind)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	say := func(code int) error {
		return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{code / 100, 1, 1}, Message: "<Ada@Customer.example>: not now"}
	}
	for name, c := range map[string]struct {
		office    *office
		code      int
		temporary bool
	}{
		"A4xxToTheHelloIsTemporary":             {&office{greet: say(421)}, 421, true},
		"A5xxToTheHelloConcernsTheServer":       {&office{greet: say(554)}, 554, true},
		"A4xxToTheSenderIsTemporary":            {&office{atMail: say(451)}, 451, true},
		"A5xxToTheSenderIsPermanent":            {&office{atMail: say(553)}, 553, false},
		"A4xxToTheRecipientIsTemporary":         {&office{atRcpt: say(450)}, 450, true},
		"A5xxToTheRecipientIsPermanent":         {&office{atRcpt: say(550)}, 550, false},
		"A4xxToTheLetterIsTemporary":            {&office{atData: say(452)}, 452, true},
		"A5xxToTheLetterIsPermanent":            {&office{atData: say(554)}, 554, false},
		"MissingCredentialsConcernEveryLetter":  {&office{user: "ada", password: "secret"}, 530, true},
		"ServerThatOffersNoAuthIsForAnOperator": {&office{}, 0, true},
		"WrongCredentialsConcernEveryLetter":    {&office{user: "ada", password: "other"}, 535, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := c.office.open(t, nil, false)
			login := ""
			if strings.Contains(name, "Wrong") || strings.Contains(name, "NoAuth") {
				login = "ada:s3cret-w0rd@"
			}
			err := post(t, "smtp://"+login+o.Addr).Send(t.Context(), mail.Example(mail.Initiated))
			e, ok := errors.AsType[*mail.Error](err)
			if !ok || e.Code != c.code || mail.Temporary(err) != c.temporary || e.Permanent == c.temporary {
				t.Fatalf("code %d, temporary %v: %v", e.Code, mail.Temporary(err), err)
			}
			if s := err.Error(); strings.Contains(strings.ToLower(s), "customer.example") || strings.Contains(s, "s3cret") {
				t.Errorf("says too much: %s", s)
			}
			if got := o.delivered(); len(got) != 0 {
				t.Errorf("delivered %d", len(got))
			}
		})
	}
}

func TestNobodyThereIsTemporary(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	err = post(t, "smtp://"+addr).Send(t.Context(), mail.Example(mail.Initiated))
	if !mail.Temporary(err) || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("temporary %v: %v", mail.Temporary(err), err)
	}
}

func TestSilenceEndsAndIsTemporary(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // the system takes the call, and nobody speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s := post(t, "smtp://"+l.Addr().String())
	s.Set(50*time.Millisecond, nil, "")
	err = s.Send(t.Context(), mail.Example(mail.Initiated))
	if !mail.Temporary(err) || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		t.Errorf("temporary %v: %v", mail.Temporary(err), err)
	}
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func TestCancelEndsASendingAtOnce(t *testing.T) {
	t.Parallel()
	t.Run("BeforeIt", func(t *testing.T) {
		t.Parallel()
		o := new(office).open(t, nil, false)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := post(t, "smtp://"+o.Addr).Send(ctx, mail.Example(mail.Initiated))
		if !mail.Temporary(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("temporary %v: %v", mail.Temporary(err), err)
		}
	})
	t.Run("InTheMidst", func(t *testing.T) {
		t.Parallel()
		o := &office{arrived: make(chan struct{}, 1), hold: make(chan struct{})}
		o.open(t, nil, false)
		defer close(o.hold)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-o.arrived; cancel() }()
		err := post(t, "smtp://"+o.Addr).Send(ctx, mail.Example(mail.Initiated))
		if !mail.Temporary(err) || !errors.Is(err, context.Canceled) {
			t.Errorf("temporary %v: %v", mail.Temporary(err), err)
		}
	})
}

func TestLettersThatCannotBeSentArePermanent(t *testing.T) {
	t.Parallel()
	o := new(office).open(t, nil, false)
	for name, spoil := range map[string]func(*mail.Letter){
		"NoID":         func(l *mail.Letter) { l.ID = "" },
		"NoAddress":    func(l *mail.Letter) { l.To.Address = "" },
		"TwoAddresses": func(l *mail.Letter) { l.To.Address = "a@b.example>, <c@d.example" },
		"LineBreak":    func(l *mail.Letter) { l.To.Address = "a@b.example\r\nDATA" },
		"NamedAddress": func(l *mail.Letter) { l.To.Address = "Ada <a@b.example>" },
		"UnknownKind":  func(l *mail.Letter) { l.Kind = "" },
		"BadSum":       func(l *mail.Letter) { l.Paid = "NaN" },
	} {
		t.Run(name, func(t *testing.T) {
			l := mail.Example(mail.Initiated)
			spoil(&l)
			err := post(t, "smtp://"+o.Addr).Send(t.Context(), l)
			if err == nil || mail.Temporary(err) {
				t.Errorf("temporary %v: %v", mail.Temporary(err), err)
			}
		})
	}
	if got := o.delivered(); len(got) != 0 {
		t.Errorf("delivered %d", len(got))
	}
}

func TestTemporaryOfOtherErrors(t *testing.T) {
	t.Parallel()
	if mail.Temporary(nil) || !mail.Temporary(io.ErrUnexpectedEOF) {
		t.Error("no error is not temporary, and a stranger's is")
	}
}
