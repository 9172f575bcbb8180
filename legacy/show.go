package legacy

import (
	"fmt"
	"regexp"
	"slices"
)

// Nothing foreign is shown but what has the form of a name that programs give: any other name, item or field may be a person's.
// What can't be shown is told by where it lies, which is all that somebody who may read that Redis needs; not by a hash,
// from which a bank's number is found by trying all of them.

var nameForm = regexp.MustCompile(`^(?i:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|(job[-_:]?)?[0-9]{1,6})$`)

// queues are the names of queues that are known.
var queues = []string{"account_closure", "account_closure_urgent", "account_closure_bulk", "notifications"}

// where says where a key lies: by its name, or else by its number among the sorted keys that begin as it does.
func where(prefix, rest string, nth int) string {
	if nameForm.MatchString(rest) || slices.Contains(queues, rest) {
		return prefix + rest
	}
	return fmt.Sprintf("key %d of %s*, sorted", nth, prefix)
}

// lies is where something that is no key lies: in a list or a sorted set, or by itself.
type lies struct {
	key  string // as it may be shown
	item int    // counted from 0, as Redis does; -1: it is the key's own value
}

func (l lies) String() string {
	if l.item < 0 {
		return l.key
	}
	return fmt.Sprintf("item %d of %s", l.item, l.key)
}

// said is a status or phase as it may be shown.
func said(w string) string {
	switch _, known := words[w]; {
	case known || slices.Contains(ofTasks, w):
		return w
	case standing(w, false) == Withdrawn:
		return "cancelled"
	}
	return "(a word that is not known)"
}
