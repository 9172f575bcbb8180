package closure

// Letter is what a customer is told, and when.
type Letter string

// The letters.
const (
	LetterInitiated    Letter = "initiated"
	LetterActionNeeded Letter = "action_needed"
	LetterFailed       Letter = "failed"
	LetterCompleted    Letter = "completed"
	LetterCanceled     Letter = "canceled"
)

// Letters are all of them.
var Letters = []Letter{LetterInitiated, LetterActionNeeded, LetterFailed, LetterCompleted, LetterCanceled}

// LetterFor is the letter that a change calls for, or "": the ledger writes its notice in the change's own transaction.
func LetterFor(before, after Closure) Letter {
	over := after.Memo.TakenOver
	switch {
	case before.ID == "" && over != nil, over != nil && over.Told && after.State == Closed: // told by the earlier system
		return ""
	case before.ID == "":
		return LetterInitiated
	case before.State != after.State && after.State == Closed:
		return LetterCompleted
	case before.State != after.State && after.State == Canceled:
		return LetterCanceled
	case after.Who == Customer && (before.Reason != after.Reason || before.State != after.State):
		return LetterActionNeeded
	case before.State != after.State && (after.State == Failed || after.State == Dead):
		return LetterFailed
	}
	return ""
}
