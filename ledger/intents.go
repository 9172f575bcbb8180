package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"closeout/closure"
)

const intentColumns = "id, closure_id, environment, account_id, key, n, kind, state, subject, attempt, client_order_id, request," +
	" amount, relationship_id, banking_day, cash_before, quiet, listed, claimed_at, deadline, absent_at, broker_id, status," +
	" answer, request_id, answered_at, filled_qty, proceeds, finished"

// Intents returns a closure's intents in the order of their claims.
func (l *Ledger) Intents(ctx context.Context, id string) (is []closure.Intent, err error) {
	if err := l.db.reads(ctx, l.intentsOf(id, &is)); err != nil {
		return nil, fmt.Errorf("read intents: %w", err)
	}
	return is, nil
}

// intentsOf is the read of a closure's intents. The closure is named by a query, whose answer Postgres doesn't know while it plans:
// by its figures it expects of one that it knows fewer intents than of any, and so would plan each such read anew.
func (l *Ledger) intentsOf(id string, to *[]closure.Intent) read {
	return read{
		q: "SELECT " + intentColumns + " FROM closeout.intents WHERE closure_id = (SELECT CAST($1 AS TEXT)) AND environment = $2 ORDER BY key, n", args: []any{id, string(l.env)},
		row: into(to),
	}
}

// into takes up each intent that is read.
func into(to *[]closure.Intent) func(row) error {
	return func(r row) error {
		i, err := scanIntent(r)
		*to = append(*to, i)
		return err
	}
}

// intentOf is the read of an intent by its id.
func intentOf(id string, to *closure.Intent) read {
	return read{q: "SELECT " + intentColumns + " FROM closeout.intents WHERE id = $1", args: []any{id}, none: ErrNotFound, row: func(r row) (err error) {
		*to, err = scanIntent(r)
		return err
	}}
}

func scanIntent(r row) (closure.Intent, error) {
	var i closure.Intent
	var request, listed, amount, cash, filled, proceeds string
	var quiet int
	err := r.Scan(&i.ID, &i.ClosureID, (*string)(&i.Environment), &i.AccountID, &i.Key, &i.N, (*string)(&i.Kind), (*string)(&i.State), &i.Subject, &i.Attempt,
		&i.ClientOrderID, &request, &amount, &i.RelationshipID, &i.BankingDay, &cash, &quiet, &listed, (*ts)(&i.ClaimedAt),
		(*ts)(&i.Deadline), (*ts)(&i.AbsentAt), &i.BrokerID, &i.Status, &i.Answer, &i.RequestID, (*ts)(&i.AnsweredAt),
		&filled, &proceeds, &i.Finished)
	if err != nil {
		return i, fmt.Errorf("read intent: %w", err)
	}
	i.Request, i.Quiet = json.RawMessage(request), quiet == 1
	if err := json.Unmarshal([]byte(listed), &i.Listed); err != nil {
		return i, fmt.Errorf("read intent %s: %w", i.ID, err)
	}
	for _, m := range []struct {
		text string
		to   *nullDecimal
	}{{amount, &i.Amount}, {cash, &i.CashBefore}, {filled, &i.FilledQty}, {proceeds, &i.Proceeds}} {
		if err := parseMoney(m.text, m.to); err != nil {
			return i, fmt.Errorf("read intent %s: %w", i.ID, err)
		}
	}
	return i, nil
}

var newIntent = "INSERT INTO closeout.intents (" + intentColumns + ") VALUES (" + places(1, strings.Count(intentColumns, ",")+1) + ")"

// insertIntent is the write of a new intent.
func insertIntent(i closure.Intent) (write, error) {
	listed, err := json.Marshal(i.Listed)
	if err != nil {
		return write{}, err
	}
	quiet := 0
	if i.Quiet {
		quiet = 1
	}
	args := []any{
		i.ID, i.ClosureID, string(i.Environment), i.AccountID, i.Key, i.N, string(i.Kind), string(i.State), i.Subject,
		i.Attempt, i.ClientOrderID, string(i.Request), money(i.Amount), i.RelationshipID, i.BankingDay, money(i.CashBefore),
		quiet, string(listed), ts(i.ClaimedAt), ts(i.Deadline), ts(i.AbsentAt), i.BrokerID, i.Status, i.Answer, i.RequestID,
		ts(i.AnsweredAt), money(i.FilledQty), money(i.Proceeds), i.Finished,
	}
	return write{
		what: "insert intent", q: newIntent, args: args,
		unique: fmt.Errorf("%w: another intent of this account stands in the way", ErrStale),
	}, nil
}

// updateIntent is the write of what was learned of an intent, where its state is still the one that was read.
func updateIntent(was closure.IntentState, i closure.Intent) write {
	return write{
		what: "update intent",
		q: "UPDATE closeout.intents SET state = $1, deadline = $2, absent_at = $3, broker_id = $4, status = $5, answer = $6," +
			" request_id = $7, answered_at = $8, filled_qty = $9, proceeds = $10, finished = $11 WHERE id = $12 AND state = $13",
		args: []any{
			string(i.State), ts(i.Deadline), ts(i.AbsentAt), plain(i.BrokerID), i.Status, plain(i.Answer), plain(i.RequestID), ts(i.AnsweredAt),
			money(i.FilledQty), money(i.Proceeds), plain(i.Finished), i.ID, string(was),
		},
		unique: ErrTaken,
	}
}
