package ledger

import (
	"context"
	"strings"

	"closeout/closure"
)

// Lengths of what a search may be for: a UUID, and a confirmation number with its six digits.
const (
	uuidLen         = 36
	confirmationLen = len("CLA-20060102150405-123456")
)

func (f Filter) search(w *where, env closure.Environment) {
	if f.PersonOf != "" {
		id, mine := plain(f.PersonOf), string(env)
		w.in(
			term{"SELECT id FROM closeout.closures WHERE id = ?", []any{id}},
			term{"SELECT id FROM closeout.closures WHERE environment = ? AND email <> '' AND lower(email) = (SELECT lower(email) FROM closeout.closures WHERE id = ?)", []any{mine, id}},
			// The second time it is for Postgres, which has no figures on how many have the same: it would expect so many that it read every row.
			term{"SELECT id FROM closeout.closures WHERE environment = ? AND user_id <> '' AND lower(user_id) = (SELECT lower(user_id) FROM closeout.closures WHERE id = ?)" +
				" AND lower(user_id) || '' = (SELECT lower(user_id) FROM closeout.closures WHERE id = ?)", []any{mine, id, id}},
		)
	}
	if text := plain(strings.TrimSpace(f.Exact)); text != "" {
		w.in(exactly(text, string(env))...)
	}
	text := plain(strings.TrimSpace(f.Text))
	switch upper := strings.ToUpper(text); {
	case text == "":
	case len(text) == uuidLen:
		text = strings.ToLower(text)
		w.and("(id = ? OR account_id = ? OR (batch_id = ? AND batch_id <> ''))", text, text, text)
	case len(text) == confirmationLen && strings.HasPrefix(upper, "CLA-"):
		w.and("confirmation = ?", "CLA-"+strings.ToLower(text[4:]))
	default:
		part := "%" + escaped(strings.ToLower(text)) + "%"
		w.and(`(id LIKE ? ESCAPE '\' OR account_id LIKE ? ESCAPE '\' OR lower(confirmation) LIKE ? ESCAPE '\')`, part, part, part)
	}
}

// exactly are the ways to the closures that an identifier is of, each along an index of its own: joined by OR, Postgres would
// take none of them.
func exactly(text, env string) []term {
	ways := []term{
		{"SELECT closure_id FROM closeout.intents WHERE environment = ? AND client_order_id = ? AND client_order_id <> ''", []any{env, text}},
	}
	for _, word := range spellings(text) { // the broker's own ids are not known to be in small letters
		ways = append(ways,
			term{"SELECT id FROM closeout.closures WHERE id = ?", []any{word}},
			term{"SELECT id FROM closeout.closures WHERE environment = ? AND account_id = ?", []any{env, word}},
			term{"SELECT id FROM closeout.closures WHERE confirmation = ?", []any{word}},
			term{"SELECT id FROM closeout.closures WHERE batch_id = ? AND batch_id <> ''", []any{word}},
			term{"SELECT closure_id FROM closeout.intents WHERE environment = ? AND broker_id = ? AND broker_id <> ''", []any{env, word}},
		)
	}
	if end := strings.ToLower(text); len(end) >= tailLen && len(end) < uuidLen {
		tail, like := plain(end[len(end)-tailLen:]), "%"+escaped(end)
		ways = append(ways,
			term{`SELECT id FROM closeout.closures WHERE substr(account_id, 31) = ? AND account_id LIKE ? ESCAPE '\'`, []any{tail, like}},
			term{`SELECT id FROM closeout.closures WHERE substr(id, 31) = ? AND id LIKE ? ESCAPE '\'`, []any{tail, like}},
		)
	}
	return ways
}

// tailLen is how many of an id's last letters there is an index of: by its end, people and confirmation numbers name an
// account.
const tailLen = 6

func escaped(part string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(part)
}

// spellings are a text as it came and as this service writes what it may be.
func spellings(text string) []string {
	word := strings.ToLower(text)
	if strings.HasPrefix(word, "cla-") {
		word = "CLA-" + word[4:]
	}
	if word == text {
		return []string{text}
	}
	return []string{text, word}
}

// OfPerson returns up to limit closures of the customer who has this e-mail or user id, whatever its letters' case; the newest
// first.
func (l *Ledger) OfPerson(ctx context.Context, who string, limit int) ([]closure.Closure, error) {
	if who = plain(strings.TrimSpace(who)); who == "" {
		return nil, nil
	}
	return l.list(ctx, "look for a customer", "SELECT "+closureColumns+" FROM closeout.closures"+
		" WHERE id IN (SELECT id FROM closeout.closures WHERE environment = $1 AND email <> '' AND lower(email) = lower($2)"+
		" UNION SELECT id FROM closeout.closures WHERE environment = $1 AND user_id <> '' AND lower(user_id) = lower($2)) ORDER BY created_at DESC, id DESC LIMIT $3",
		string(l.env), who, limit)
}

// term is a condition, or a query, with its bound values.
type term struct {
	text string
	args []any
}

// in demands that the closure is among those that any of the queries finds.
func (w *where) in(ways ...term) {
	var texts []string
	var args []any
	for _, t := range ways {
		texts = append(texts, t.text)
		args = append(args, t.args...)
	}
	w.and("id IN ("+strings.Join(texts, " UNION ")+")", args...)
}
