package sim

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// approveAfter is how long an ACH relationship that was asked for over the API waits for its approval.
const approveAfter = 10 * time.Minute

// relationshipBody is a CreateACHRelationshipRequest.
type relationshipBody struct {
	Owner    string `json:"account_owner_name"`
	Kind     string `json:"bank_account_type"`
	Number   string `json:"bank_account_number"`
	Routing  string `json:"bank_routing_number"`
	Nickname string `json:"nickname"`
}

func (v *visit) addBank(b relationshipBody, status string) *relationship {
	r := relationship{
		ID: v.a.newID("relationship"), Status: status, Owner: b.Owner, Kind: b.Kind, Number: b.Number, Routing: b.Routing,
		Nickname: b.Nickname, Created: v.at, Updated: v.at,
	}
	v.a.Relationships = append(v.a.Relationships, r)
	return &v.a.Relationships[len(v.a.Relationships)-1]
}

// owned makes up a bank account for the customer.
func (a *account) owned(n int) relationshipBody {
	digits := fmt.Sprintf("%012d", seedOf(a.ID, n)%1_000_000_000_000)
	return relationshipBody{
		Owner: a.GivenName + " " + a.FamilyName, Kind: "CHECKING", Number: digits, Routing: "121000358", Nickname: "Checking",
	}
}

func (v *visit) createBank(b relationshipBody) (*relationship, error) {
	switch {
	case strings.EqualFold(v.a.Status, "ACCOUNT_CLOSED"):
		return nil, forbidden("account is closed")
	case b.Owner == "", b.Number == "", b.Routing == "":
		return nil, malformed("account_owner_name, bank_account_number and bank_routing_number are required")
	case b.Kind != "CHECKING" && b.Kind != "SAVINGS":
		return nil, malformed("bank_account_type must be CHECKING or SAVINGS")
	case slices.ContainsFunc(v.a.Relationships, func(r relationship) bool { return !r.Deleted && r.Status != "REJECTED" }):
		return nil, &refusal{status: http.StatusConflict, code: 40910000, message: "only one active ach relationship allowed"}
	}
	r := v.addBank(b, "QUEUED")
	r.ApproveAt = v.at.Add(approveAfter)
	v.book(Entry{Kind: "relationship_create", Actor: "api", Key: r.ID})
	return r, nil
}

func (v *visit) deleteBank(id string) error {
	r := v.a.relationship(id)
	if r == nil {
		return notFound("relationship")
	}
	r.Deleted, r.Updated = true, v.at
	v.book(Entry{Kind: "relationship_delete", Actor: "api", Key: r.ID})
	return nil
}

func (v *visit) relationshipDelete(e Event) error {
	r := v.bank(e.Relationship)
	if r == nil {
		return notFound("relationship")
	}
	r.Deleted, r.Updated = true, v.at
	v.book(Entry{Kind: "relationship_delete", Key: r.ID, Note: e.Reason})
	return nil
}

// relationshipCreate is the customer linking a bank anew, approved at once.
func (v *visit) relationshipCreate(e Event) error {
	status := "APPROVED"
	if e.Status != "" {
		status = strings.ToUpper(e.Status)
	}
	r := v.addBank(v.a.owned(v.a.Made), status)
	v.book(Entry{Kind: "relationship_create", Key: r.ID, Note: e.Reason})
	return nil
}

func (v *visit) relationshipStatus(e Event) error {
	r := v.bank(e.Relationship)
	if r == nil {
		return notFound("relationship")
	}
	if e.Status == "" {
		return invalid("relationship_status needs a status")
	}
	r.Status, r.Updated, r.ApproveAt = strings.ToUpper(e.Status), v.at, time.Time{}
	v.book(Entry{Kind: "relationship_status", Key: r.ID, Note: r.Status})
	return nil
}
