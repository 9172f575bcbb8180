// Package legacy reads what the system before this one keeps in its Redis: the jobs of its specification and the states of the
// system that ran. It only reads, in bounded pieces, and it only understands: what becomes of an account is decided by whoever
// takes it over. All of it is foreign input. What is not understood is named and never guessed, and no value is passed on that does
// not have the form of what it claims to be.
package legacy
