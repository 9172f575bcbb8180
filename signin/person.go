package signin

// Role is what a person may do here.
type Role string

// The roles. An operator may do what a viewer may.
const (
	Nobody   Role = ""
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// May says whether a role is enough.
func (r Role) May(least Role) bool {
	return least == Nobody || r == Operator || r == Viewer && least == Viewer
}

// Person is who is signed in. What they do is in the histories as done by "operator:" and their name.
type Person struct {
	Name string
	Role Role
}

// Actor is the person's name in a history.
func (p Person) Actor() string { return "operator:" + p.Name }
