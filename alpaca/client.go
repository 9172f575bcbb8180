package alpaca

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	defaultTimeout = 20 * time.Second
	readLimit      = 16 << 20
)

// Options says where the broker is and as whom to speak to it.
type Options struct {
	BaseURL string // https://broker-api.sandbox.alpaca.markets, without /v1
	Key     string `json:"-"`
	Secret  string `json:"-"`

	// Timeout bounds one request, connecting and reading included. Zero means 20 seconds.
	Timeout time.Duration
	// Transport replaces real connections, for reads and for writes. Nil means real connections.
	Transport http.RoundTripper `json:"-"`
	// Gate is asked before each request. Nil: nothing is held back.
	Gate Gate `json:"-"`
	// Asked is told of each request that was made. Nil: nobody is.
	Asked func(Asked) `json:"-"`
	// UserAgent is what the broker sees. Empty means "closeout".
	UserAgent string
}

// String leaves key and secret out, so that logged options give nothing away.
func (o Options) String() string { return fmt.Sprintf("alpaca.Options{%s}", o.BaseURL) }

// GoString is String, for %#v.
func (o Options) GoString() string { return o.String() }

// Client reads from the broker and opens Senders. It is safe for use by several goroutines.
type Client struct {
	base      *url.URL
	address   string              // base, as it is written
	authorize func(*http.Request) // a closure, so that no print of a Client can show the key
	hide      func([]byte) []byte // takes key and secret out of what the broker says
	timeout   time.Duration
	reads     *http.Client
	given     http.RoundTripper // Options.Transport
	gate      Gate              // nil: none
	tell      func(Asked)       // nil: nobody is told
	tls       *tls.Config       // nil but in tests
}

// String names the broker and nothing else.
func (c *Client) String() string { return fmt.Sprintf("alpaca.Client{%s}", c.base) }

// GoString is String, for %#v.
func (c *Client) GoString() string { return c.String() }

// New checks the options and names everything that is wrong with them. It does not connect.
func New(o Options) (*Client, error) {
	var wrong []error
	base, err := url.Parse(strings.TrimRight(o.BaseURL, "/"))
	switch {
	case err != nil:
		wrong = append(wrong, errors.New("the broker's URL cannot be read")) // url.Parse repeats its input: it may hold a password
	case base.Scheme != "http" && base.Scheme != "https", base.Host == "", base.Hostname() == "":
		wrong = append(wrong, errors.New("the broker's URL must begin with https:// or http:// and name a host"))
	case base.User != nil:
		wrong = append(wrong, errors.New("the broker's URL must not contain a user or password: key and secret are settings of their own"))
	case base.RawQuery != "", base.Fragment != "":
		wrong = append(wrong, errors.New("the broker's URL must end with its host or path"))
	}
	if o.Key == "" {
		wrong = append(wrong, errors.New("the broker's key is missing"))
	}
	if o.Secret == "" {
		wrong = append(wrong, errors.New("the broker's secret is missing"))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.UserAgent == "" {
		o.UserAgent = "closeout"
	}
	c := &Client{base: base, address: base.String(), timeout: o.Timeout, given: o.Transport, gate: o.Gate, tell: o.Asked}
	own := http.Request{Header: http.Header{"User-Agent": {o.UserAgent}, "Accept": {"application/json"}}}
	own.SetBasicAuth(o.Key, o.Secret)
	c.authorize = func(r *http.Request) { maps.Copy(r.Header, own.Header) }
	c.hide = func(said []byte) []byte {
		for _, secret := range []string{o.Key, o.Secret} {
			if len(secret) >= 8 { // a shorter one is a test's
				said = bytes.ReplaceAll(said, []byte(secret), []byte("***"))
			}
		}
		return said
	}
	transport := o.Transport
	if transport == nil {
		// No proxy, as for writes: reads that work where writes cannot would only promise too much.
		transport = &http.Transport{
			DialContext:         (&net.Dialer{Timeout: o.Timeout, KeepAlive: 30 * time.Second}).DialContext,
			TLSHandshakeTimeout: o.Timeout,
			MaxIdleConns:        64,
			MaxIdleConnsPerHost: 32,
			IdleConnTimeout:     60 * time.Second,
			ForceAttemptHTTP2:   true,
		}
	}
	c.reads = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c, nil
}

// get reads path into out. Each error says which call it was and what the broker said.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	target := c.address + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(limited, http.MethodGet, target, nil)
	if err != nil {
		return fmt.Errorf("GET %s: the path is not usable", shortPath(path))
	}
	path = shortPath(path) // as others may see it
	c.authorize(req)
	tell, err := c.pass(ctx, false, path)
	if err != nil {
		return err
	}
	defer tell(Heard{GivenUp: true})
	started := time.Now()
	resp, err := c.reads.Do(req)
	if err != nil {
		tell(heard(ctx, nil, err))
		c.asked(ctx, req, path, nil, started)
		return newConnError(ctx, req.Method, path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, readLimit+1))
	tell(heard(ctx, resp, err))
	c.asked(ctx, req, path, resp, started)
	if resp.StatusCode != http.StatusOK {
		return decodeError(resp, req.Method, path, c.hide(body))
	}
	if err != nil {
		return newConnError(ctx, req.Method, path, err)
	}
	if len(body) > readLimit {
		return newAnswerError(resp, req.Method, path, fmt.Errorf("more than %d MiB", readLimit>>20))
	}
	if err := json.Unmarshal(body, out); err != nil {
		return newAnswerError(resp, req.Method, path, err)
	}
	return nil
}

// list is a JSON array. A null where a list should be is unknown, which is never the same as an empty list.
type list[T any] []T

func (l *list[T]) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return errors.New("null where a list belongs")
	}
	return json.Unmarshal(b, (*[]T)(l))
}
