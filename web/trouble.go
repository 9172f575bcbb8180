package web

import "net/http"

// Trouble is an error as a person is shown it. Its cause goes to the log alone.
type Trouble struct {
	Status              int
	Title, Detail, Hint string
	Cause               error
	RequestID           string // set where it is shown
}

// Error implements error.
func (t Trouble) Error() string { return t.Title + ": " + t.Detail }

// Unwrap gives the cause.
func (t Trouble) Unwrap() error { return t.Cause }

// maxForm is the largest form that is read, in bytes.
const maxForm = 64 << 10

// ReadForm reads what a form has sent. What can't be read is a Trouble.
func ReadForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return Trouble{Status: http.StatusBadRequest, Title: "Not understood", Detail: "The form can't be read.", Hint: "Go back, reload the page and send it again.", Cause: err}
	}
	return nil
}
