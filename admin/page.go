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

// contentPolicy allows the page its own style only. It runs no script and loads nothing, whatever text it contains.
var contentPolicy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; " +
		"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"style": func() template.CSS { return template.CSS(style) },
	"join":  func(texts []string) string { return strings.Join(texts, ", ") },
	"time":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") },
	"soon":  func(t time.Time) bool { return time.Until(t) < 14*24*time.Hour },
}).Parse(pageText))

// writePage writes a page completely, or an error instead of it.
func writePage(w http.ResponseWriter, name string, data any) {
	var text bytes.Buffer
	if err := page.ExecuteTemplate(&text, name, data); err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = text.WriteTo(w)
}

// link is one of the pages served.
type link struct{ Path, About string }

// index serves links to all pages.
func (s *Server) index(w http.ResponseWriter, r *http.Request) {
	links := []link{
		{statusPath, "state of the server, as JSON or as a page"},
		{healthPath, "200 while the process runs"},
		{readyPath, "200 if clients can use the server, or 503 with the reason"},
	}
	if s.opts.Metrics != nil {
		links = append(links, link{metricsPath, "metrics for Prometheus"})
	}
	if s.opts.Profiles {
		links = append(links, link{profilePath, "profiles of the Go runtime"})
	}
	w.Header().Set("Vary", "Accept")
	if wantsPage(r) {
		writePage(w, "index", links)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	for _, l := range links {
		fmt.Fprintf(w, "%-16s%s\n", l.Path, l.About)
	}
}
