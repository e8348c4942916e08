package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var style string

// contentPolicy lets a page have its own style and nothing else: whatever came into it, it runs nothing and loads nothing.
var contentPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
	"join":  func(texts []string) string { return strings.Join(texts, ", ") },
	"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
	"soon":  func(t time.Time) bool { return time.Until(t) < 14*24*time.Hour },
}).Parse(pageText))

// show writes a page whole or not at all.
func show(w http.ResponseWriter, name string, data any) {
	var text bytes.Buffer
	if err := page.ExecuteTemplate(&text, name, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w)
}

// link is one of the pages that there are.
type link struct{ Path, About string }

// index leads to what there is.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	links := []link{
		{statusPath, "how the server is, as JSON or as a page"},
		{healthPath, "whether the process lives"},
		{readyPath, "whether clients should come now, and if not, why"},
	}
	if s.opts.Metrics != nil {
		links = append(links, link{metricsPath, "what Prometheus scrapes"})
	}
	if s.opts.Profiles {
		links = append(links, link{profilePath, "profiles of the Go runtime"})
	}
	w.Header().Set("Vary", "Accept")
	if wantsPage(r) {
		show(w, "index", links)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, l := range links {
		fmt.Fprintf(w, "%-16s%s\n", l.Path, l.About)
	}
}
