package server

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"closeout/ledger"
)

const (
	idempotencyKey = "Idempotency-Key"
	replayed       = "Idempotent-Replayed"

	// keeping is how long, in machine time, a request that is over waits for its key to be released, or its answer to be kept.
	keeping = 2 * time.Second
)

var idempotencyForm = regexp.MustCompile(`^[!-~]{1,255}$`)

// once answers a POST with an Idempotency-Key once: whoever asks the same again gets the same answer. A change writes its
// answer itself, by answering; what is written here is the answer of a request that changed nothing. A refusal is not
// kept: it has changed nothing, and the next try may go better.
func (s *server) once(c *gin.Context) {
	e := entryOf(c.Request.Context())
	values := c.Request.Header.Values(idempotencyKey)
	if c.Request.Method != http.MethodPost || e.key == "" || c.FullPath() == "" || len(values) == 0 {
		return
	}
	refuse := func(p *Problem) {
		p.write(c.Writer, c.Request)
		c.Abort()
	}
	if len(values) > 1 || !idempotencyForm.MatchString(values[0]) {
		refuse(badIdempotencyKey.problem("An Idempotency-Key is 1 to 255 printable ASCII characters without spaces, and comes once.").
			hinting("Send a UUID of your own for each thing that you want done, and the same one when you ask for it again."))
		return
	}
	body, p := s.bodyOf(c)
	if p != nil {
		refuse(p)
		return
	}
	r, err := s.Ledger.Reserve(c.Request.Context(), e.key, values[0], requestHash(c.Request, body))
	switch {
	case errors.Is(err, ledger.ErrOtherRequest):
		refuse(otherRequest.problem("This Idempotency-Key came with another method, address or body before.").
			hinting("Use a new key for another request; a key is kept for 24 hours."))
	case err != nil:
		refuse(ledgerProblem(err))
	case r.Answer() != nil:
		c.Header(replayed, "true")
		again(c, *r.Answer())
		c.Abort()
	default:
		s.firstTime(c, e, r)
	}
}

// firstTime lets the request through and holds its answer back until it is kept, or its key released.
func (s *server) firstTime(c *gin.Context, e *entry, r *ledger.Reservation) {
	e.reserved = r
	out := c.Writer
	held := &held{ResponseWriter: out, status: http.StatusOK}
	c.Writer = held
	defer func() {
		c.Writer = out
		ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), keeping)
		defer cancel()
		if v := recover(); v != nil {
			_ = s.Ledger.Release(ctx, r) // or its lease ends
			panic(v)
		}
		if r.Answer() == nil {
			s.conclude(ctx, e, r, held)
		}
		if a := r.Answer(); a != nil {
			again(c, *a)
			return
		}
		out.WriteHeader(held.status)
		_, _ = out.Write(held.body.Bytes()) // the client is gone
	}()
	c.Next()
}

// conclude keeps the answer of a request that has written none, or gives its key back. That this fails is no reason to
// answer anything else: what was done is done, and the lease ends by itself.
func (s *server) conclude(ctx context.Context, e *entry, r *ledger.Reservation, h *held) {
	var err error
	if h.status < http.StatusMultipleChoices {
		err = s.Ledger.Answer(ctx, r, ledger.Answer{Status: h.status, Location: h.Header().Get("Location"), Body: h.body.Bytes()})
	} else {
		err = s.Ledger.Release(ctx, r)
	}
	if err != nil && e.cause == nil {
		e.cause = err
	}
}

// again writes a kept answer, the first time as each time after.
func again(c *gin.Context, a ledger.Answer) {
	if a.Location != "" {
		c.Header("Location", a.Location)
	}
	c.Header("Content-Type", "application/json")
	c.Writer.WriteHeader(a.Status)
	_, _ = c.Writer.Write(a.Body) // the client is gone
}

// answering is the last argument of a change of the ledger: say gives the answer to what the change has made, and it is kept
// in the change's own transaction. Without an Idempotency-Key nothing is kept.
func answering[T any](ctx context.Context, say func(made T) (status int, location string, body any)) *ledger.Reply[T] {
	r := entryOf(ctx).reserved
	if r == nil {
		return nil
	}
	return &ledger.Reply[T]{To: r, Say: func(made T) (ledger.Answer, error) {
		status, location, v := say(made)
		var body bytes.Buffer
		enc := json.NewEncoder(&body) // as huma writes it
		enc.SetEscapeHTML(false)
		err := enc.Encode(v)
		return ledger.Answer{Status: status, Location: location, Body: body.Bytes()}, err
	}}
}

// bodyOf reads the body before its operation does, which finds it as it came.
func (s *server) bodyOf(c *gin.Context) ([]byte, *Problem) {
	_ = huma.SetReadDeadline(c.Writer, time.Now().Add(s.rules.of(c).patience)) // a recorder has none
	body, err := io.ReadAll(c.Request.Body)
	if err == nil {
		c.Request.Body = io.NopCloser(bytes.NewReader(body))
		return body, nil
	}
	var timeout interface{ Timeout() bool }
	if errors.As(err, &timeout) && timeout.Timeout() {
		return nil, fromHuma(http.StatusRequestTimeout, "", err).(*Problem) //nolint:forcetypeassert,errcheck // it is always one
	}
	return nil, fromHuma(http.StatusInternalServerError, endedEarly, err).(*Problem) //nolint:forcetypeassert,errcheck // it is always one
}

// requestHash is what two requests have in common that are the same.
func requestHash(r *http.Request, body []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	_, _ = io.WriteString(h, r.Method+" "+r.URL.RequestURI()+"\n") // a hash takes everything
	_, _ = h.Write(body)
	return [sha256.Size]byte(h.Sum(nil))
}

// describeOnce writes into a POST's description what once does.
func describeOnce(op *huma.Operation) {
	least, most := 1, 255
	op.Parameters = append(op.Parameters, &huma.Param{
		Name: idempotencyKey, In: "header", Description: "For one thing that you want done: the same key and body again get the same answer, for 24 hours",
		Schema: &huma.Schema{Type: huma.TypeString, MinLength: &least, MaxLength: &most, Pattern: idempotencyForm.String()},
	})
	for status, r := range op.Responses {
		if status < "300" && status >= "200" {
			if r.Headers == nil {
				r.Headers = map[string]*huma.Param{}
			}
			r.Headers[replayed] = &huma.Param{Description: "true: the same was asked before, with the same Idempotency-Key", Schema: &huma.Schema{Type: huma.TypeString}}
		}
	}
}

// held is a writer that keeps what is written.
type held struct {
	gin.ResponseWriter
	status int
	body   bytes.Buffer
}

// Unwrap is for http.ResponseController.
func (h *held) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *held) WriteHeader(status int) {
	if status > 0 {
		h.status = status
	}
}
func (h *held) WriteHeaderNow()                      {}
func (h *held) Write(b []byte) (int, error)          { return h.body.Write(b) }
func (h *held) WriteString(text string) (int, error) { return h.body.WriteString(text) }
func (h *held) Status() int                          { return h.status }
func (h *held) Size() int                            { return h.body.Len() }
func (h *held) Written() bool                        { return h.body.Len() > 0 }
func (h *held) Flush()                               {}
