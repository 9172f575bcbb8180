package auditor

import (
	"crypto/sha256"
	"encoding/hex"
)

// history: the events are whole and chained by the bytes that are stored, every claim was made by a running closure, and
// every intent has its claim.
func (a *audit) history(c *closure) {
	prev, state, version := "", "", int64(0)
	claims := map[int64]bool{}
	broken := func(seq int64, why string) { a.found(BrokenChain, c.id, c.account, "event %d: %s", seq, why) }
	for n, e := range c.events {
		h := sha256.Sum256([]byte(prev + "\n" + e.body))
		switch {
		case e.seq != int64(n)+1:
			broken(int64(n)+1, "it is missing")
			return
		case e.prevHash != prev || e.hash != hex.EncodeToString(h[:]):
			broken(e.seq, "it does not follow from the one before")
			return
		case !e.readable || e.bodyClosure != c.id || e.bodySeq != e.seq || e.bodyKind != e.kind:
			broken(e.seq, "its columns and its body disagree")
			return
		case e.version < version:
			broken(e.seq, "the version went back")
			return
		}
		if e.kind == "adopted" || e.kind == "reconciled" { // what others have asked for, or this service before a restore
			c.adopted[e.version] = true
		}
		if e.kind == "claim" {
			claims[e.version] = true
			if e.state != "running" || state != "running" && n > 0 {
				a.found(ClaimAfterStop, c.id, c.account, "event %d claims, the closure was %s", e.seq, state)
			}
		}
		prev, state, version = e.hash, e.state, e.version
	}
	switch {
	case len(c.events) == 0:
		broken(1, "it is missing")
	case int64(len(c.events)) != c.seq || prev != c.head:
		broken(int64(len(c.events)), "it is not the one that the row calls the last")
	case state != c.state:
		broken(int64(len(c.events)), "it says "+state+", the row says "+c.state)
	}
	for _, i := range c.intents {
		if !claims[i.key] && !c.adopted[i.key] {
			a.found(Unclaimed, c.id, c.account, "%s intent %s", i.kind, i.id)
		}
	}
}
