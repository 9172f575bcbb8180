package web

import (
	"bytes"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"
)

// ConsolePolicy is the Content-Security-Policy of the console's pages: files of this service, and nothing else.
const ConsolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'"

// Console are the console's pages, each within the same layout.
type Console map[string]*template.Template

// ParseConsole reads the pages. The functions are the console's own words for times and sums.
func ParseConsole(funcs template.FuncMap) (Console, error) {
	shared, err := template.New("").Funcs(template.FuncMap{"asset": Asset, "dollars": dollars, "sums": sums}).Funcs(funcs).
		ParseFS(consoleFiles, "console/layout.html", "console/parts.html")
	if err != nil {
		return nil, err
	}
	names, err := fs.Glob(consoleFiles, "console/*.html")
	if err != nil {
		return nil, err
	}
	pages := Console{}
	for _, name := range names {
		base := strings.TrimSuffix(path.Base(name), ".html")
		if base == "layout" || base == "parts" {
			continue
		}
		one, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if pages[base], err = one.ParseFS(consoleFiles, name); err != nil {
			return nil, err
		}
	}
	return pages, nil
}

// Page draws a page: the whole of it by the part "layout", or what of it changes while it is looked at by "region".
func (c Console) Page(name, part string, frame any) ([]byte, error) {
	t, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("web: no page %s", name)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, part, frame); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
