// Package web holds the pages that people see, embedded. It thinks nothing: what a page shows is handed to it. A page works
// without script, loads nothing, and is styled by one sheet that its policy names by hash; but for Docs, whose script ships
// with it.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"

	"github.com/shopspring/decimal"
)

//go:embed *.html *.css
var files embed.FS

// Docs are the pages of the API's description: index.html, and RapiDoc 9.3.8, which draws it.
//
//go:embed docs
var Docs embed.FS

var (
	sheet = func() template.CSS {
		b, err := files.ReadFile("page.css")
		if err != nil {
			panic(err) // it is embedded
		}
		return template.CSS(b) //nolint:gosec // it is ours
	}()

	pages = template.Must(template.New("").Funcs(template.FuncMap{"sheet": func() template.CSS { return sheet }, "asset": Asset, "dollars": dollars}).ParseFS(files, "*.html"))

	// PagePolicy is the Content-Security-Policy of a page: its sheet and nothing else.
	PagePolicy = func() string {
		sum := sha256.Sum256([]byte(sheet))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	}()
)

// dollars writes a sum, cut to cents, with its sign before the dollar.
func dollars(sum interface {
	Truncate(places int32) decimal.Decimal
},
) string {
	d := sum.Truncate(2)
	if d.IsNegative() {
		return "−$" + d.Abs().StringFixed(2)
	}
	return "$" + d.StringFixed(2)
}

// CaseFile is a closure's case file as a page. file is the server's.
func CaseFile(file any) ([]byte, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "casefile.html", file); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// InMonitoring puts what of ours stands on asynqmon's pages into one: a way back, and from a task to what it is of. Where it has
// no place for it the page is left as it is.
func InMonitoring(page []byte) []byte {
	for before, part := range map[string]string{"</head>": "monitoring.head", `<div id="root">`: "monitoring.bar"} {
		var b bytes.Buffer
		must(pages.ExecuteTemplate(&b, part, nil))
		page = bytes.Replace(page, []byte(before), append(b.Bytes(), before...), 1)
	}
	return page
}
