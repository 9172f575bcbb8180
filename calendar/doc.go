// Package calendar knows when the market trades and when banks move money, in New York time.
//
// These are two calendars: on Columbus Day and Veterans Day the market is open and no ACH is processed; on Good Friday, or
// the day before an Independence Day that is a Saturday, it is the other way round. Trading sessions come from the broker's own calendar
// where the caller has it (Calendar.With) and from a rule table elsewhere; banking days always come from the rules of the
// Federal Reserve. Nothing is read or kept here: a Calendar is a value, and the time is always handed in.
package calendar
