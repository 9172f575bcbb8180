// Package web holds the pages that people see, embedded. A page works without script, loads nothing, and is styled by one
// sheet that its policy names by hash. It thinks nothing: what a page shows is handed to it.
package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
)

//go:embed *.html *.css
var files embed.FS

var (
	sheet = func() template.CSS {
		b, err := files.ReadFile("page.css")
		if err != nil {
			panic(err) // it is embedded
		}
		return template.CSS(b) //nolint:gosec // it is ours
	}()

	pages = template.Must(template.New("").Funcs(template.FuncMap{"sheet": func() template.CSS { return sheet }}).ParseFS(files, "*.html"))

	// PagePolicy is the Content-Security-Policy of a page: its sheet and nothing else.
	PagePolicy = func() string {
		sum := sha256.Sum256([]byte(sheet))
		return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
	}()
)

// CaseFile is a closure's case file as a page. file is the server's.
func CaseFile(file any) ([]byte, error) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "casefile.html", file); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
