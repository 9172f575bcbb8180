// Package server is the HTTP door: it accepts closures and tells of them. It writes them to the ledger and asks for their
// first visit; everything after that is done elsewhere. It knows the broker only through the readiness check.
package server
