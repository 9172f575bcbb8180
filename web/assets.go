package web

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"
)

// vendored are scripts of others, as they were published: vendor.json says of which package and version, and a test holds
// each to the hash that stands there.
//
//go:embed vendor/*.js vendor/*.txt
var vendored embed.FS

//go:embed console
var consoleFiles embed.FS

// AssetsPath is where the console's files are served.
const AssetsPath = "/assets/"

// asset is a file that a browser may keep for good: its address changes with what is in it.
type asset struct {
	address, kind string
	body          []byte
}

// assets are the console's files by their plain names: its sheets joined into one, its script, and the vendored ones.
var assets = func() map[string]asset {
	sheets, err := fs.Glob(consoleFiles, "console/css/*.css") // base.css comes first by its name, so that pages can build on it
	must(err)
	slices.Sort(sheets)
	var css bytes.Buffer
	for _, name := range sheets {
		css.Write(read(consoleFiles, name))
	}
	all := map[string]asset{}
	for name, body := range map[string][]byte{
		"console.css":    css.Bytes(),
		"console.js":     read(consoleFiles, "console/console.js"),
		"icon.svg":       read(consoleFiles, "console/icon.svg"),
		"monitoring.css": read(consoleFiles, "console/monitoring.css"),
		"monitoring.js":  read(consoleFiles, "console/monitoring.js"),
		"htmx.min.js":    read(vendored, "vendor/htmx.min.js"),
		"hx-sse.min.js":  read(vendored, "vendor/hx-sse.min.js"),
	} {
		sum := sha256.Sum256(body)
		ext := path.Ext(name)
		all[name] = asset{
			AssetsPath + strings.TrimSuffix(name, ext) + "." + hex.EncodeToString(sum[:6]) + ext, mime.TypeByExtension(ext), body,
		}
	}
	return all
}()

// Asset is the address of one of the console's files. An unknown name is found when the page is first drawn, by a test.
func Asset(name string) string {
	a, ok := assets[name]
	if !ok {
		panic("web: no asset " + name)
	}
	return a.address
}

// Assets serves the console's files below AssetsPath.
func Assets() http.Handler {
	byAddress := map[string]asset{}
	for _, a := range assets {
		byAddress[a.address] = a
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a, ok := byAddress[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", a.kind)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		_, _ = w.Write(a.body) // the browser is gone
	})
}

func read(from embed.FS, name string) []byte {
	b, err := from.ReadFile(name)
	must(err)
	return b
}

// must is for what is embedded, and so can only be wrong in every process alike.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
