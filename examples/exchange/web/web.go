// Package web is the venue's page: plain HTML, CSS and ES modules, as they
// are, without a build step and with nothing loaded from elsewhere.
package web

import (
	"embed"
	"io/fs"
)

//go:embed static
var static embed.FS

// Policy is the Content-Security-Policy the page lives under, inline code and
// inline styles refused included.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Files returns the files of the page; index.html is what belongs at /.
func Files() fs.FS {
	files, err := fs.Sub(static, "static")
	if err != nil {
		panic(err) // a name that is embedded above
	}
	return files
}
