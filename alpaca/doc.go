// Package alpaca speaks to Alpaca's Broker API, as far as closing an account needs it.
//
// Reads are one GET each, or all the pages of one list: a page that fails makes the whole read fail, so that a short
// list is never mistaken for a complete one. Writes are values that the ledger stores before they are sent; a Sender
// sends one of them, once, over a connection of its own. Nothing here retries, waits, caches or decides.
package alpaca
