//go:build race

package simulation

// underRace: a life takes fifteen times as long with the race detector, which has little to find where one goroutine runs
// at a time. A few lives are enough for it.
const underRace = true
