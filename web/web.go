// Package web holds the files that the server hands to browsers, embedded. It has nothing that thinks.
package web

import "embed"

// Docs are the pages of the API's description: index.html, and RapiDoc 9.3.8, which draws it.
//
//go:embed docs
var Docs embed.FS
