// Package signin is where people come in: who is signed in, by what, and for how long. Its door has the routes of the sign-in and
// the sessions; how its pages look is said to it.
package signin
