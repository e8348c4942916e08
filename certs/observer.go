package certs

import "time"

// Event is an event of a certificate, or of all files.
type Event struct {
	Kind     EventKind
	Source   Source
	Names    []string
	NotAfter time.Time // expiry; zero for Failed and Removed
	Err      error     // for Failed and FilesRead
}

// EventKind is the kind of an event.
type EventKind uint8

const (
	Loaded    EventKind = iota // read from a file for the first time, or issued by the local CA
	Obtained                   // obtained from the ACME server for the first time
	Renewed                    // replaced by another one, from a file or from ACME
	Failed                     // not available; the previous certificate stays
	Expiring                   // a certificate file has less than 14 days left
	Removed                    // no longer served
	FilesRead                  // all files were read; those in Err are invalid, and their previous content stays
)

func (k EventKind) String() string {
	return [...]string{"loaded", "obtained", "renewed", "failed", "expiring", "removed", "files_read"}[k]
}

// Source is the origin of a certificate.
type Source uint8

const (
	FromFile Source = iota
	FromACME
	FromLocalCA
)

func (s Source) String() string { return [...]string{"file", "acme", "local_ca"}[s] }

// Expiry is a certificate served now, with its expiry.
type Expiry struct {
	Source   Source
	Names    []string
	NotAfter time.Time
}
