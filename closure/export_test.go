package closure

// Leads is the table of the state axis, for the tests that draw it and hold Apply to it.
func Leads() map[State][]State { return leads }
