package auditor

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/shopspring/decimal"
)

type closure struct {
	id, account, bank, state, phase, reason, why, memo, head string
	version, seq                                             int64
	due                                                      time.Time

	events  []event
	intents []intent
	notices []notice
	adopted map[int64]bool // versions at which instructions were taken in that this service had not claimed
}

// takenOver says whether an earlier system had begun the closure, and whether the customer heard of its end from that.
func (c closure) takenOver() (over, told bool) {
	var m struct {
		Over *struct {
			Told bool `json:"told"`
		} `json:"taken_over"`
	}
	if json.Unmarshal([]byte(c.memo), &m) != nil || m.Over == nil {
		return false, false
	}
	return true, m.Over.Told
}

func (c closure) ended() bool { return c.state == "closed" || c.state == "canceled" }

// paid is what the closure says was paid out.
func (c closure) paid() (decimal.Decimal, bool) {
	var m struct {
		Paid string `json:"paid"`
	}
	if json.Unmarshal([]byte(c.memo), &m) != nil || m.Paid == "" {
		return decimal.Zero, false
	}
	d, err := decimal.NewFromString(m.Paid)
	return d, err == nil
}

type event struct {
	seq              int64
	at               time.Time
	kind, body       string
	prevHash, hash   string
	bodyKind, state  string
	bodySeq, version int64
	bodyClosure      string
	readable         bool
}

type intent struct {
	id, closure, account, kind, state, subject, clientID, request, bank, brokerID string
	key                                                                           int64
	status                                                                        int
	amount                                                                        decimal.NullDecimal
	claimedAt, deadline, absentAt                                                 time.Time
}

// body is what was asked of the broker, as it was written down.
type body struct {
	Symbol         string `json:"symbol"`
	Qty            string `json:"qty"`
	Side           string `json:"side"`
	RelationshipID string `json:"relationship_id"`
	Amount         string `json:"amount"`
	Direction      string `json:"direction"`
}

func (i intent) asked() (b body) {
	var w struct {
		Body body `json:"body"`
	}
	_ = json.Unmarshal([]byte(i.request), &w) // what can't be read asks for nothing, and differs from everything
	return w.Body
}

// heard says whether the broker answered that it took the instruction.
func (i intent) heard() bool { return i.status >= 200 && i.status < 300 }

type notice struct {
	kind, state string
	due         time.Time
}

// moment reads a time as either database hands it over.
type moment struct{ to *time.Time }

func (m moment) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*m.to = time.Time{}
	case time.Time:
		*m.to = v.UTC()
	case []byte:
		return m.Scan(string(v))
	case string:
		for _, layout := range []string{"2006-01-02 15:04:05.999999999-07:00", "2006-01-02 15:04:05.999999999-07", time.RFC3339Nano} {
			if t, err := time.Parse(layout, v); err == nil {
				*m.to = t.UTC()
				return nil
			}
		}
		return fmt.Errorf("read the time %q", v)
	default:
		return fmt.Errorf("read a time: unexpected %T", v)
	}
	return nil
}

// sum reads money: text, where "" is unknown.
type sum struct{ to *decimal.NullDecimal }

func (s sum) Scan(v any) error {
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	text, ok := v.(string)
	if !ok {
		return fmt.Errorf("read a sum: unexpected %T", v)
	}
	if text == "" {
		*s.to = decimal.NullDecimal{}
		return nil
	}
	d, err := decimal.NewFromString(text)
	if err != nil {
		return err
	}
	*s.to = decimal.NewNullDecimal(d)
	return nil
}

func (a *audit) read(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	at := map[string]int{}
	err = each(ctx, tx, "SELECT id, account_id, relationship_id, state, phase, reason, why, memo, head_hash, version, seq, due_at FROM closures ORDER BY created_at, id",
		func(scan func(...any) error) error {
			c := closure{adopted: map[int64]bool{}}
			if err := scan(&c.id, &c.account, &c.bank, &c.state, &c.phase, &c.reason, &c.why, &c.memo, &c.head, &c.version, &c.seq, moment{&c.due}); err != nil {
				return err
			}
			at[c.id] = len(a.closures)
			a.closures = append(a.closures, c)
			return nil
		})
	if err != nil {
		return err
	}
	a.Closures = len(a.closures)
	err = each(ctx, tx, "SELECT closure_id, seq, at, kind, body, prev_hash, hash FROM events ORDER BY closure_id, seq",
		func(scan func(...any) error) error {
			var id string
			var e event
			if err := scan(&id, &e.seq, moment{&e.at}, &e.kind, &e.body, &e.prevHash, &e.hash); err != nil {
				return err
			}
			var b struct {
				Closure string `json:"closure_id"`
				Seq     int64  `json:"seq"`
				Kind    string `json:"kind"`
				State   string `json:"state"`
				Version int64  `json:"version"`
			}
			e.readable = json.Unmarshal([]byte(e.body), &b) == nil
			e.bodyClosure, e.bodySeq, e.bodyKind, e.state, e.version = b.Closure, b.Seq, b.Kind, b.State, b.Version
			a.Events++
			if n, ok := at[id]; ok {
				a.closures[n].events = append(a.closures[n].events, e)
			}
			return nil
		})
	if err != nil {
		return err
	}
	err = each(ctx, tx, "SELECT id, closure_id, account_id, key, kind, state, subject, client_order_id, request, amount, relationship_id,"+
		" claimed_at, deadline, absent_at, broker_id, status FROM intents ORDER BY claimed_at, closure_id, key, n",
		func(scan func(...any) error) error {
			var i intent
			if err := scan(&i.id, &i.closure, &i.account, &i.key, &i.kind, &i.state, &i.subject, &i.clientID, &i.request, sum{&i.amount}, &i.bank,
				moment{&i.claimedAt}, moment{&i.deadline}, moment{&i.absentAt}, &i.brokerID, &i.status); err != nil {
				return err
			}
			a.intents[i.account] = append(a.intents[i.account], i)
			if n, ok := at[i.closure]; ok {
				a.closures[n].intents = append(a.closures[n].intents, i)
			}
			return nil
		})
	if err != nil {
		return err
	}
	return each(ctx, tx, "SELECT closure_id, kind, state, due_at FROM notices ORDER BY closure_id, seq",
		func(scan func(...any) error) error {
			var id string
			var n notice
			if err := scan(&id, &n.kind, &n.state, moment{&n.due}); err != nil {
				return err
			}
			if k, ok := at[id]; ok {
				a.closures[k].notices = append(a.closures[k].notices, n)
			}
			return nil
		})
}

func each(ctx context.Context, tx *sql.Tx, query string, row func(scan func(...any) error) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
