package api

import (
	"io/fs"
	"net/http"
	"strings"
)

// page serves the files of the page.
func (a *api) page(w http.ResponseWriter, r *http.Request) error {
	if a.cfg.Page == nil {
		return problem(codeNotFound, "there is nothing here")
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	info, err := fs.Stat(a.cfg.Page, name)
	if err != nil || info.IsDir() || name == "index.html" && r.URL.Path != "/" {
		return problem(codeNotFound, "there is nothing here")
	}
	w.Header().Set("Content-Security-Policy", a.cfg.PagePolicy)
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, a.cfg.Page, name)
	return nil
}
