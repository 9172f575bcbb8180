package mail

import (
	"context"
	"crypto/x509"
	"net"
	"time"
)

// Set changes what only a test may change: how long a delivery takes at most, which certificates are trusted, and where a
// connection leads, whatever the host is called.
func (s *SMTP) Set(timeout time.Duration, roots *x509.CertPool, addr string) {
	if timeout > 0 {
		s.timeout = timeout
	}
	s.roots = roots
	if addr != "" {
		s.dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		}
	}
}
