package closure

import "time"

// Redriven resumes a closure that has stopped as one of many: nobody has looked at it by itself. It is refused where resuming
// would be somebody's word that they have.
func Redriven(c Closure, intents []Intent, at time.Time, actor, why string) (Change, error) {
	no := func(why string) (Change, error) { return Change{}, &NotAllowedError{"retry", c.State, why} }
	switch {
	case c.State != Failed && c.State != Dead:
		return no("it is " + string(c.State) + "; only what has failed or is dead is retried")
	case Reasons[c.Reason].Each:
		return no("a person must look at each of these: " + Reasons[c.Reason].Title)
	}
	for _, i := range intents {
		if i.State == IntentLate { // whatever it stopped for
			return no("a person must look at it: " + Reasons[LateTransfer].Title)
		}
	}
	return Resume(at, actor, why), nil
}
