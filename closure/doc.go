// Package closure says what a closure is: its phases and states, what it waits for and until when, how long it may wait,
// and how each thing that happens changes it. It is pure: no clock is read, no database or broker is known here, and
// Apply is the only place in the service where a closure's state changes.
package closure

//go:generate go test -run TestRoadIsDrawn -update .
