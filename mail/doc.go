// Package mail writes the letters that a customer gets about a closure and hands them to a mail server: five kinds, each
// as plain text and as HTML, from templates that are linked in. It says nothing that it was not given: an amount that is
// not known is left out, and is never zero. When a letter is owed, to whom, and how often it is tried, others decide.
package mail

//go:generate go test -run TestLettersReadAsKept -update .
