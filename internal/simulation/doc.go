// Package simulation lets the whole service live through thousands of lives in virtual time: the real handlers, a real
// ledger on SQLite and the simulated broker, over a small model of Asynq, with faults of every kind and everything that
// real life sends. A seed decides all of it, so that a life that went wrong can be lived again. What a life has left behind
// is judged by internal/auditor, which shares no code with what it judges.
//
// At any moment at most one goroutine of a life runs: the engine hands the turn to a visit, a sweep or a command, and gets
// it back where that pauses or ends. Other copies run in the pauses; nothing is left to Go's scheduler.
package simulation
