package mail

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"slices"
	"strings"
	texttemplate "text/template"
)

//go:embed templates
var files embed.FS

const textWidth = 76

// wording is one kind's templates. The subject and the heading stand in the text's file only.
type wording struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

var wordings = parse()

func parse() map[Kind]wording {
	all := map[Kind]wording{}
	for _, k := range Kinds() {
		name := "templates/" + string(k)
		all[k] = wording{
			text: texttemplate.Must(texttemplate.ParseFS(files, "templates/layout.txt.tmpl", name+".txt.tmpl")),
			html: htmltemplate.Must(htmltemplate.ParseFS(files, "templates/layout.html.tmpl", name+".html.tmpl")),
		}
	}
	return all
}

// view is a letter in the words that the templates print. All of it is one line each, and none of it is trusted as HTML.
type view struct {
	Subject, Heading, Name string
	Expected, Why, Hint    string
	Paid                   string // "" where nothing was paid, or nobody knows
	PaidNothing            bool   // known to be nothing
	Facts                  []fact
	Transfers              []payout
}

type fact struct{ Label, Value string }

type payout struct{ Amount, Day, Status string }

// Render writes a letter: its subject, its plain text and its HTML, which is a whole page and loads nothing. Everything
// that the letter was given is escaped.
func Render(l Letter) (subject, text, html string, err error) {
	w, ok := wordings[l.Kind]
	if !ok {
		return "", "", "", fmt.Errorf("there is no letter of the kind %q", l.Kind)
	}
	v, err := viewOf(l)
	if err != nil {
		return "", "", "", fmt.Errorf("write the letter %q: %w", l.Kind, err)
	}
	var out bytes.Buffer
	run := func(execute func() error) string {
		out.Reset()
		if e := execute(); e != nil {
			err = errors.Join(err, e)
		}
		return out.String()
	}
	v.Subject = line(run(func() error { return w.text.ExecuteTemplate(&out, "subject", v) }))
	v.Heading = line(run(func() error { return w.text.ExecuteTemplate(&out, "heading", v) }))
	text = wrap(run(func() error { return w.text.ExecuteTemplate(&out, "layout.txt.tmpl", v) }), textWidth)
	html = run(func() error { return w.html.ExecuteTemplate(&out, "layout.html.tmpl", v) })
	if err != nil {
		return "", "", "", fmt.Errorf("write the letter %q: %w", l.Kind, err)
	}
	return v.Subject, text, html, nil
}

func viewOf(l Letter) (view, error) {
	v := view{Name: line(l.To.Name), Expected: day(l.Expected), Why: sentence(l.Why), Hint: sentence(l.Hint)}
	confirmation, tail := line(l.Confirmation), line(l.AccountTail)
	if confirmation == "" {
		return v, errors.New("it has no confirmation number")
	}
	if tail != "" {
		runes := []rune(tail)
		tail = "ending in " + string(runes[max(0, len(runes)-6):])
	}
	if l.Paid != "" {
		said, zero, err := dollars(l.Paid)
		if err != nil {
			return v, fmt.Errorf("the sum paid: %w", err)
		}
		if v.PaidNothing = zero; !zero {
			v.Paid = said
		}
	}
	for n, t := range l.Transfers {
		said, _, err := dollars(t.Amount)
		if err != nil {
			return v, fmt.Errorf("transfer %d: %w", n+1, err)
		}
		v.Transfers = append(v.Transfers, payout{said, day(t.At), fate(t.Status)})
	}
	ended := map[Kind]string{Completed: "Closed", Canceled: "Canceled"}[l.Kind]
	v.Facts = []fact{{"Confirmation number", confirmation}, {"Account", tail}, {"Requested", moment(l.Requested)}}
	if ended != "" {
		v.Facts = append(v.Facts, fact{ended, moment(l.Completed)})
	} else if v.Expected != "" {
		v.Facts = append(v.Facts, fact{"Expected to finish", "about " + v.Expected})
	}
	v.Facts = append(v.Facts, fact{"Paid out", v.Paid})
	v.Facts = slices.DeleteFunc(v.Facts, func(f fact) bool { return strings.TrimSpace(f.Value) == "" })
	return v, nil
}
