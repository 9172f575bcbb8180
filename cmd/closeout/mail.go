package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"closeout/mail"
)

type mailCmd struct {
	Preview mailPreviewCmd `cmd:"" help:"Show the letters to customers, with an invented customer's name and sums; nothing is sent."`
}

type mailPreviewCmd struct {
	Kinds []string `arg:"" optional:"" name:"kind" help:"Which letters: initiated, action_needed, failed, completed, canceled. Without one they are listed, or with --to all written."`
	HTML  bool     `name:"html" help:"Print the HTML of the letter instead of its plain text."`
	To    string   `placeholder:"DIR" help:"Write both, as KIND.txt and KIND.html, into this folder, which is made if it is not there."`
}

// Run prints the letters, or writes them into a folder.
func (c *mailPreviewCmd) Run(o output) error {
	known := mail.Kinds()
	var bad complaints
	kinds := make([]mail.Kind, len(c.Kinds))
	for n, k := range c.Kinds {
		if kinds[n] = mail.Kind(k); !slices.Contains(known, kinds[n]) {
			bad.add("kind", "there is no letter %q; there are %s", k, join(known))
		}
	}
	if c.HTML && len(c.Kinds) != 1 {
		bad.add("--html", "wants one letter, since each is a page of its own; --to DIR writes several")
	}
	if c.HTML && c.To != "" {
		bad.add("--html", "is not needed with --to, which writes the text and the HTML")
	}
	if err := bad.err(); err != nil {
		return err
	}
	switch {
	case c.To != "" && len(kinds) == 0:
		kinds = known
	case len(kinds) == 0:
		return list(o, known)
	}
	if c.To != "" {
		if err := os.MkdirAll(c.To, 0o750); err != nil {
			return fmt.Errorf("make the folder: %w", err)
		}
	}
	for n, k := range kinds {
		subject, text, html, err := mail.Render(mail.Example(k))
		if err != nil {
			return err
		}
		text = "Subject: " + subject + "\n\n" + text
		switch {
		case c.To != "":
			err = c.write(o, k, text, html)
		case c.HTML:
			_, err = fmt.Fprint(o.out, html)
		case n > 0:
			_, err = fmt.Fprint(o.out, "\n"+strings.Repeat("-", 76)+"\n\n"+text)
		default:
			_, err = fmt.Fprint(o.out, text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *mailPreviewCmd) write(o output, k mail.Kind, text, html string) error {
	for ending, content := range map[string]string{".txt": text, ".html": html} {
		if err := os.WriteFile(filepath.Join(c.To, string(k)+ending), []byte(content), 0o640); err != nil {
			return fmt.Errorf("write a letter: %w", err)
		}
	}
	_, err := fmt.Fprintf(o.out, "%s: .txt and .html\n", filepath.Join(c.To, string(k)))
	return err
}

// list prints a line for each letter: its kind and its subject.
func list(o output, kinds []mail.Kind) error {
	for _, k := range kinds {
		subject, _, _, err := mail.Render(mail.Example(k))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(o.out, "%-14s %s\n", k, subject); err != nil {
			return err
		}
	}
	return nil
}

func join(kinds []mail.Kind) string {
	var b strings.Builder
	for n, k := range kinds {
		if n > 0 {
			b.WriteString(", ")
		}
		b.WriteString(string(k))
	}
	return b.String()
}
