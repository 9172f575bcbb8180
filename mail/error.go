package mail

import (
	"errors"
	"fmt"
)

// Error is why a letter was not handed over. Its text names neither the recipient nor the password.
type Error struct {
	Doing     string // what was being done: "connect", "name the recipient"
	Code      int    // the mail server's answer; 0 where it gave none
	Permanent bool   // this letter will be refused again, however often it is tried
	Err       error

	text string
}

func (e *Error) Error() string {
	if e.text == "" {
		return fmt.Sprintf("send letter: %s: %v", e.Doing, e.Err)
	}
	return fmt.Sprintf("send letter: %s: %s", e.Doing, e.text)
}

// Unwrap gives the cause, so that errors.Is finds context.Canceled and its like.
func (e *Error) Unwrap() error { return e.Err }

// Temporary says whether trying again later may help. Only a letter that is wrong in itself, or that the server refused
// for good (5xx), is permanent. What concerns the connection, its encryption or the credentials keeps every letter back
// until somebody mends it, so it is temporary; so is an error that is not of this package.
func Temporary(err error) bool {
	if err == nil {
		return false
	}
	e, ok := errors.AsType[*Error](err)
	return !ok || !e.Permanent
}
