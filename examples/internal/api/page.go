package api

import (
	"io/fs"
	"net/http"
	"strings"
)

// file returns which file of the page a request means, "" for none.
func (a *api) file(r *http.Request) string {
	name := strings.TrimPrefix(r.URL.Path, "/")
	switch name {
	case "":
		name = "index.html"
	case "index.html":
		return ""
	}
	if a.cfg.Page == nil {
		return ""
	}
	if info, err := fs.Stat(a.cfg.Page, name); err != nil || info.IsDir() {
		return ""
	}
	return name
}

// page serves the files of the page.
func (a *api) page(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Content-Security-Policy", a.cfg.PagePolicy)
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, a.cfg.Page, a.file(r))
	return nil
}
