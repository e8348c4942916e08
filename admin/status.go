package admin

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const statusPath = "/status"

// Status is how a server is. It has no session id, no key and no secret; of tenants it has numbers.
type Status struct {
	Version  string    `json:"version"`
	Go       string    `json:"go"`
	Started  time.Time `json:"started"`
	Uptime   Duration  `json:"uptime"`
	Ready    bool      `json:"ready"`
	NotReady string    `json:"not_ready,omitempty"` // why

	Connections  Connections   `json:"connections"`
	Log          Log           `json:"log"`
	Listeners    []Listener    `json:"listeners"`
	Certificates []Certificate `json:"certificates"`
	Tenants      Tenants       `json:"tenants"`
	Policy       Policy        `json:"policy"`
	Audit        Audit         `json:"audit"`
	Storage      Storage       `json:"storage"`
	Reloads      []Reload      `json:"reloads"`
}

// Connections says how many there may be.
type Connections struct {
	Limit       int `json:"limit"`       // in force
	Configured  int `json:"configured"`  // more than the limit where file descriptors do not suffice
	Descriptors int `json:"descriptors"` // that the system allows; 0 is unknown
}

// Log is the log on standard error.
type Log struct {
	LostLines int64 `json:"lost_lines"` // since the start
}

// Listener is where clients connect, and by which rules.
type Listener struct {
	Name               string   `json:"name"`
	Address            string   `json:"address"`
	TLS                bool     `json:"tls"`
	Plaintext          string   `json:"plaintext"`
	ClientCertificates string   `json:"client_certificates"`
	Allow              []string `json:"allow"`
	Deny               []string `json:"deny,omitempty"`
	Proxies            []string `json:"proxies,omitempty"`
	Anonymous          string   `json:"anonymous,omitempty"`
}

// Certificate is one that is served.
type Certificate struct {
	Source  string    `json:"source"`
	Names   []string  `json:"names"`
	Expires time.Time `json:"expires"`
}

// Tenants are numbers of them.
type Tenants struct {
	Served   int `json:"served"`
	Problems int `json:"problems"` // in their files, which the log tells
}

// Policy is what decides about operations.
type Policy struct {
	Source   string    `json:"source"`
	Revision string    `json:"revision"`
	Loaded   time.Time `json:"loaded"`
	Kept     bool      `json:"kept"`            // from an earlier life, as the source had nothing that is right
	Error    string    `json:"error,omitempty"` // why what the source has now could not be taken
}

// Audit is the audit log.
type Audit struct {
	Output    string `json:"output,omitempty"`    // "" is none
	Decisions string `json:"decisions,omitempty"` // where decisions go; "" is nowhere
	Error     string `json:"error,omitempty"`     // why events cannot be recorded now
}

// Storage is where sessions are kept.
type Storage struct {
	Driver string `json:"driver"`
	Path   string `json:"path,omitempty"`
	Sync   string `json:"sync,omitempty"`
	Error  string `json:"error,omitempty"` // why it fails now

	// What is not known is negative. Until the storage is open all of it is 0.
	SizeBytes                int64    `json:"size_bytes"` // on disk
	FilesystemSizeBytes      int64    `json:"filesystem_size_bytes"`
	FilesystemAvailableBytes int64    `json:"filesystem_available_bytes"`
	SweepLag                 Duration `json:"sweep_lag"` // how long the oldest expired record has been waiting to be removed
}

// Disk says in words what the storage takes and what is left.
func (s Storage) Disk() string {
	if s.SizeBytes < 0 || s.FilesystemSizeBytes <= 0 {
		return ""
	}
	return fmt.Sprintf("%s on disk, %s of %s free", size(s.SizeBytes), size(s.FilesystemAvailableBytes), size(s.FilesystemSizeBytes))
}

// size is a number of bytes for people.
func size(bytes int64) string {
	units, n := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, float64(bytes)
	for len(units) > 1 && n >= 1024 {
		units, n = units[1:], n/1024
	}
	return fmt.Sprintf("%.4g %s", n, units[0])
}

// Reload is how the last look at something that may change went.
type Reload struct {
	What  string    `json:"what"`
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// Duration is written in seconds for programs and as in 26h3m0s for people.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', 0, 64), nil
}

func (d Duration) String() string { return time.Duration(d).Round(time.Second).String() }

// status answers with a page for those who would rather have one, and with JSON for all others.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	state := s.opts.Status()
	w.Header().Set("Vary", "Accept")
	if wantsPage(r) {
		show(w, "status", state)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(state) // an error is the client's leaving
}

// wantsPage reports whether a request prefers HTML, as those of browsers do.
func wantsPage(r *http.Request) bool {
	page, other := 0.0, 0.0
	for _, part := range strings.Split(r.Header.Get("Accept"), ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			q = 1
		}
		switch kind {
		case "text/html", "application/xhtml+xml":
			page = max(page, q)
		case "application/json", "text/plain":
			other = max(other, q)
		}
	}
	return page > 0 && page >= other
}
