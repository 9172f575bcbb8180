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
func adopt(ctx context.Context, tx *transaction, c closure.Closure, found, settled, known []closure.Intent) error {
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
	for n, i := range found {
		i.ID = fmt.Sprintf("%s/%d/%d", c.ID, c.Version, n)
		i.ClosureID, i.Environment, i.AccountID = c.ID, c.Environment, c.AccountID
		i.Key, i.N = c.Version, n
		if i.Kind == closure.TransferIntent {
			if err := placeTransfer(ctx, tx, &i); err != nil {
				return err
			}
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

// placeTransfer gives an adopted transfer its place among the account's banking days.
func placeTransfer(ctx context.Context, tx *transaction, i *closure.Intent) error {
	var taken, others int
	err := tx.QueryRowContext(ctx, "SELECT (SELECT count(*) FROM closeout.intents WHERE environment = $1 AND broker_id = $2 AND kind = 'transfer'),"+
		" (SELECT count(*) FROM closeout.intents WHERE environment = $3 AND account_id = $4 AND kind = 'transfer' AND state <> 'refused'"+
		" AND (banking_day = $5 OR banking_day LIKE $6))",
		string(i.Environment), i.BrokerID, string(i.Environment), i.AccountID, i.BankingDay, i.BankingDay+" %").Scan(&taken, &others)
	if err != nil {
		return fmt.Errorf("adopt a transfer: %w", err)
	}
	if taken > 0 {
		return ErrTaken
	}
	if others > 0 {
		i.BankingDay = fmt.Sprintf("%s (%d)", i.BankingDay, others+1)
	}
	return nil
}
