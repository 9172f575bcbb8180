// Package live tells many listeners in one process what happens to closures, with one reader of the ledger's feed for all of
// them. It knows no HTTP and decides nothing: whoever streams, the API or a page, opens a Stream and asks it for the next
// event. A stream misses nothing and repeats nothing, from whatever place it begins, since the feed has one order for all
// processes; what is not told live is read from the ledger.
package live
