// Package readiness says what closing an account will need, before anything is done: what will be sold, about how much is
// paid in how many transfers, when it can be finished by both calendars, and what stands in the way. It only reads.
package readiness
