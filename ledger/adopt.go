package ledger

import (
	"context"
	"fmt"

	"closeout/closure"
)

// adopt writes intents for what the broker has and the ledger lacks, on the row as the change has moved it in this transaction:
// their keys are its version. ErrTaken: one of the transfers is another intent's already.
//
// Two transfers may well lie on one banking day, such as one of ours and one that a person has made by hand, while the net
// under the claim takes one a day. The first keeps the day, which no claim can take any more; any further one has its number
// behind it.
func (l *Ledger) adopt(ctx context.Context, tx *transaction, c closure.Closure, found, settled, known []closure.Intent) error {
	for _, i := range settled {
		for _, was := range known {
			if was.ID != i.ID {
				continue
			}
			if err := tx.later(ctx, updateIntent(was.State, i)); err != nil {
				return err
			}
		}
	}
	var days daysTaken
	for n, i := range found {
		i.ID = fmt.Sprintf("%s/%d/%d", c.ID, c.Version, n)
		i.ClosureID, i.Environment, i.AccountID = c.ID, c.Environment, c.AccountID
		i.Key, i.N = c.Version, n
		if i.Kind == closure.TransferIntent {
			if err := noneHas(ctx, tx, i); err != nil {
				return err
			}
			if days == nil {
				var err error
				if days, err = l.daysOf(ctx, tx, c.AccountID); err != nil {
					return err
				}
			}
			i.BankingDay = days.next(i.Day())
		}
		w, err := insertIntent(i)
		if err != nil {
			return err
		}
		if err := tx.later(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// noneHas refuses a transfer that is another intent's.
func noneHas(ctx context.Context, tx *transaction, i closure.Intent) error {
	var n int
	err := tx.QueryRowContext(ctx, "SELECT count(*) FROM closeout.intents WHERE environment = $1 AND broker_id = $2 AND kind = 'transfer'", string(i.Environment), i.BrokerID).Scan(&n)
	if err != nil {
		return fmt.Errorf("adopt a transfer: %w", err)
	}
	if n > 0 {
		return ErrTaken
	}
	return nil
}

// daysTaken are the banking days of an account's transfers, as the net under the claim takes them: a day alone, or with a number behind.
type daysTaken map[string]bool

func (l *Ledger) daysOf(ctx context.Context, tx *transaction, account string) (daysTaken, error) {
	p := daysTaken{}
	rows, err := tx.QueryContext(ctx, "SELECT banking_day FROM closeout.intents WHERE environment = $1 AND account_id = $2 AND kind = 'transfer' AND state <> 'refused'", string(l.env), account)
	if err != nil {
		return nil, fmt.Errorf("adopt a transfer: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var day string
		if err := rows.Scan(&day); err != nil {
			return nil, fmt.Errorf("adopt a transfer: %w", err)
		}
		p[day] = true
	}
	return p, rows.Err()
}

// next takes the next place of a day: the day itself where it is free, as after a refusal, so that no claim can take it any more.
func (p daysTaken) next(day string) string {
	place := day
	for n := 2; p[place]; n++ {
		place = fmt.Sprintf("%s (%d)", day, n)
	}
	p[place] = true
	return place
}
