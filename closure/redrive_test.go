package closure_test

import (
	"errors"
	"testing"

	"closeout/closure"
)

// What a person must look at by itself is not resumed among many, and all else that has stopped by itself is.
func TestWhatIsRetriedAmongMany(t *testing.T) {
	t.Parallel()
	alone := map[closure.Reason]bool{
		closure.ReturnedTwice: true, closure.UnknownTransfer: true, closure.LateTransfer: true, closure.Unexplained: true, closure.LedgerWentBack: true, closure.NotReconciled: true,
	}
	for reason := range closure.Reasons {
		c := apply(t, fresh(closure.Withdrawal), closure.Looked(noon, closure.Fail(reason, "no"), closure.Look{}, nil))
		ch, err := closure.Redriven(c, nil, noon, "operator:ann", "mended")
		if _, refused := errors.AsType[*closure.NotAllowedError](err); refused != alone[reason] || err != nil && !refused {
			t.Errorf("%s: %v", reason, err)
		}
		if err != nil {
			continue
		}
		if next := apply(t, c, ch); next.State != closure.Running || next.Version != c.Version+1 {
			t.Errorf("%s: it is %s at version %d", reason, next.State, next.Version)
		}
		late := []closure.Intent{{Kind: closure.TransferIntent, State: closure.IntentSent}, {Kind: closure.TransferIntent, State: closure.IntentLate}}
		if _, err := closure.Redriven(c, late, noon, "operator:ann", "mended"); err == nil {
			t.Errorf("%s: resumed over a late transfer", reason)
		}
	}
	paused := apply(t, fresh(closure.Withdrawal), closure.Pause(noon, "ann", "hold it"))
	for _, c := range []closure.Closure{paused, fresh(closure.Withdrawal)} {
		if _, err := closure.Redriven(c, nil, noon, "operator:ann", "mended"); err == nil {
			t.Errorf("a %s closure was retried", c.State)
		}
	}
}
