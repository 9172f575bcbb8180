package server

import (
	"io/fs"
	"mime"
	"net/http"
	"path"

	"github.com/gin-gonic/gin"

	"closeout/web"
)

// DocsPath is where the readable docs are. They are open, as the description is that they draw.
const DocsPath = "/docs"

// docsPolicy lets the page load its one script and the description from here, and nothing from anywhere else. The drawing
// sets styles of its own; scripts within the page are refused.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func (s *server) registerDocs(r *gin.Engine) {
	r.GET(DocsPath, page("docs/index.html"))
	for _, name := range []string{"rapidoc-min.js", "rapidoc-LICENSE.txt"} {
		r.GET(DocsPath+"/"+name, page("docs/"+name))
	}
}

// page serves one embedded file. A missing one is found at the start.
func page(name string) gin.HandlerFunc {
	body, err := fs.ReadFile(web.Docs, name)
	if err != nil {
		panic(err)
	}
	kind := mime.TypeByExtension(path.Ext(name))
	return func(c *gin.Context) { c.Data(http.StatusOK, kind, body) }
}
