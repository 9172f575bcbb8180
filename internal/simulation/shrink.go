package simulation

import (
	"maps"
	"slices"
)

// shrink looks for the fewest kinds and the shortest prefix of faults with which a life still goes wrong. fails lives a
// life with these options and says whether it does. A life has some dozens of kinds: one more life each is affordable.
func shrink(o Options, struck int, kinds map[Kind]int, fails func(Options) bool) Options {
	best := o
	best.Without = maps.Clone(o.Without)
	if best.Without == nil {
		best.Without = map[Kind]bool{}
	}
	try := func(change func(*Options)) bool {
		next := best
		next.Without = maps.Clone(best.Without)
		change(&next)
		if !fails(next) {
			return false
		}
		best = next
		return true
	}
	// All at once first: what is wrong without any fault is wrong in the service's plain ways.
	try(func(n *Options) { n.Faults = 0 })
	for again := true; again; {
		again = false
		for _, k := range slices.Sorted(maps.Keys(kinds)) {
			if !best.Without[k] && try(func(n *Options) { n.Without[k] = true }) {
				again = true
			}
		}
	}
	if best.Faults == 0 {
		return best
	}
	low, high := 0, struck // with high it fails, as far as is known
	if best.Faults > 0 {
		high = min(high, best.Faults)
	}
	for low < high {
		mid := (low + high) / 2
		if try(func(n *Options) { n.Faults = mid }) {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return best
}
