// Package console is the operators' door: pages that say which closures need a person and why, and forms by which one acts.
// What is done to a closure is decided in the ledger, as everywhere; the pages only ask and show.
package console
