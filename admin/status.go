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

// Status is the state of a server. It contains no session id, no key and no secret, and only the number of tenants.
type Status struct {
	Version  string    `json:"version"`
	Go       string    `json:"go"`
	Started  time.Time `json:"started"`
	Uptime   Duration  `json:"uptime"`
	Ready    bool      `json:"ready"`
	NotReady string    `json:"not_ready,omitempty"` // reason

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

// Connections has the limits of open connections.
type Connections struct {
	Limit       int `json:"limit"`       // in force
	Configured  int `json:"configured"`  // exceeds Limit if there are too few file descriptors
	Descriptors int `json:"descriptors"` // allowed by the system; 0 is unknown
}

// Log is the state of the log on standard error.
type Log struct {
	LostLines int64 `json:"lost_lines"` // since the start
}

// Listener is an address for clients, with its rules.
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

// Certificate is a certificate in use.
type Certificate struct {
	Source  string    `json:"source"`
	Names   []string  `json:"names"`
	Expires time.Time `json:"expires"`
}

// Tenants has the numbers of tenants.
type Tenants struct {
	Served   int `json:"served"`
	Problems int `json:"problems"` // in their files; the log has them
}

// Policy is the policy in force.
type Policy struct {
	Source   string    `json:"source"`
	Revision string    `json:"revision"`
	Loaded   time.Time `json:"loaded"`
	Kept     bool      `json:"kept"`            // from an earlier run, since the source had no valid policy
	Error    string    `json:"error,omitempty"` // why the present content of the source is not in force
}

// Audit is the state of the audit log.
type Audit struct {
	Output    string `json:"output,omitempty"`    // "" is none
	Decisions string `json:"decisions,omitempty"` // output of the decision log; "" is none
	Error     string `json:"error,omitempty"`     // why events cannot be recorded now
}

// Storage is the state of the storage.
type Storage struct {
	Driver string `json:"driver"`
	Path   string `json:"path,omitempty"`
	Sync   string `json:"sync,omitempty"`
	Error  string `json:"error,omitempty"` // of its last failure, while it fails

	// Unknown numbers are negative. All are 0 until the storage is open.
	SizeBytes                int64    `json:"size_bytes"` // on disk
	FilesystemSizeBytes      int64    `json:"filesystem_size_bytes"`
	FilesystemAvailableBytes int64    `json:"filesystem_available_bytes"`
	SweepLag                 Duration `json:"sweep_lag"` // age of the oldest expired record not yet swept
}

// Disk returns a description of the used and the free space.
func (s Storage) Disk() string {
	if s.SizeBytes < 0 || s.FilesystemSizeBytes <= 0 {
		return ""
	}
	return fmt.Sprintf("%s on disk, %s of %s free",
		size(s.SizeBytes), size(s.FilesystemAvailableBytes), size(s.FilesystemSizeBytes))
}

// size formats a number of bytes for people.
func size(bytes int64) string {
	units, n := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}, float64(bytes)
	for len(units) > 1 && n >= 1024 {
		units, n = units[1:], n/1024
	}
	return fmt.Sprintf("%.4g %s", n, units[0])
}

// Reload is the outcome of the last check of something that is reloaded.
type Reload struct {
	What  string    `json:"what"`
	At    time.Time `json:"at"`
	OK    bool      `json:"ok"`
	Error string    `json:"error,omitempty"`
}

// Duration is formatted in seconds for programs, and like 26h3m0s for people.
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(d).Seconds(), 'f', 0, 64), nil
}

func (d Duration) String() string { return time.Duration(d).Round(time.Second).String() }

// status serves a page to clients that prefer one, and JSON to all others.
func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	state := s.opts.Status()
	w.Header().Set("Vary", "Accept")
	if wantsPage(r) {
		writePage(w, "status", state)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	_ = out.Encode(state) // fails if the client has left
}

// wantsPage reports whether a request prefers HTML, as a request of a browser does.
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
