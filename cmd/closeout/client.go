package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// progressView is what initiate shows of GET progress.
type progressView struct {
	Account string `json:"account_id"`
	JobID   string `json:"job_id"`
	Phase   string `json:"phase"`
	State   string `json:"state"`
	Finish  string `json:"expected_finish,omitempty"`
	Waiting *struct {
		Reason string     `json:"reason"`
		Why    string     `json:"why"`
		Until  *time.Time `json:"until,omitempty"`
		Who    string     `json:"who_must_act"`
		Hint   string     `json:"hint,omitempty"`
	} `json:"waiting,omitempty"`
	Money struct {
		Paid string `json:"paid"`
	} `json:"money"`
}

// refusal is the part of a problem that people need.
type refusal struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Hint   string `json:"hint"`
}

func (r *refusal) Error() string {
	return strings.TrimSpace(fmt.Sprintf("%s (%s): %s %s", r.Title, r.Code, r.Detail, r.Hint))
}

// laterError is an answer about this moment. after is when to ask again, by the server's word; 0: it did not say.
type laterError struct {
	status string
	after  time.Duration
}

func (e *laterError) Error() string { return "the server answered " + e.status }

func (c *initiateCmd) progress(ctx context.Context, account string) (p progressView, err error) {
	return p, c.call(ctx, http.MethodGet, "progress", account, nil, &p)
}

// call speaks to the server; a problem comes back as a refusal, unless asking again may go better.
func (c *initiateCmd) call(ctx context.Context, method, what, account string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.URL, "/")+"/api/account-closure/"+what+"/"+account, r)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", c.Key)
	req.Header.Set("Content-Type", "application/json")
	// A redirect is not followed: the key would go along to wherever it leads.
	client := &http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("read the server's answer: %w", err)
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		var p refusal
		if json.Unmarshal(answer, &p) != nil || p.Title == "" || forNow(resp.StatusCode) {
			after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
			return &laterError{resp.Status, time.Duration(after) * time.Second}
		}
		return &p
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}

// forNow says whether a status is about this moment and not about the request: too many requests, one that took too long,
// or a server or something before it that is away.
func forNow(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusRequestTimeout || status >= http.StatusInternalServerError
}
