package server_test

import (
	"strings"
	"testing"
	"time"

	"closeout/alpaca/sim"
	"closeout/server"
)

// TestWhatMeansNothingIsNotRefused: the case of a media type, and HEAD where anybody may ask.
func TestWhatMeansNothingIsNotRefused(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	if a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank), "Content-Type", "Application/JSON; Charset=utf-8"); a.status != 202 {
		t.Errorf("a media type in capitals: %d %s", a.status, a.text)
	}
	for _, path := range []string{"/health", "/ready", "/docs", "/openapi.json"} {
		if a := b.do("HEAD", path, ""); a.status != 200 {
			t.Errorf("HEAD %s: %d", path, a.status)
		}
	}
}

// TestAskingAgainSaysWhatStays: another priority or start does not make another closure, and is not dropped in silence.
func TestAskingAgainSaysWhatStays(t *testing.T) {
	b := newBench(t)
	id, bank := b.account(sim.Spec{})
	if a := b.do("POST", "/api/account-closure/initiate/"+id, wish(bank)); a.status != 202 {
		t.Fatal(a.status, a.text)
	}
	var got server.Initiated
	again := strings.Replace(wish(bank), "{", `{"priority":"urgent","not_before":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`",`, 1)
	a := b.do("POST", "/api/account-closure/initiate/"+id, again)
	a.into(&got)
	if a.status != 200 || !strings.Contains(got.Message, "priority stays normal") || !strings.Contains(got.Message, "start stays") {
		t.Errorf("got %d: %s", a.status, got.Message)
	}
}
