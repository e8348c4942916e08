package certs

import "time"

// Event is something that happened to a certificate, or to all files.
type Event struct {
	Kind     EventKind
	Source   Source
	Names    []string
	NotAfter time.Time // when it expires; zero for Failed and Removed
	Err      error     // for Failed and FilesRead
}

// EventKind says what happened.
type EventKind uint8

const (
	Loaded    EventKind = iota // read from a file for the first time, or made by the local CA
	Obtained                   // got from the ACME server for the first time
	Renewed                    // another took its place: a file that was replaced, or one from ACME
	Failed                     // it could not be had; what there was before stays
	Expiring                   // a file that nobody renewed has less than 14 days left
	Removed                    // it is not served any more
	FilesRead                  // all files were read; those in Err are invalid, and their previous content stays
)

func (k EventKind) String() string {
	return [...]string{"loaded", "obtained", "renewed", "failed", "expiring", "removed", "files_read"}[k]
}

// Source says where a certificate comes from.
type Source uint8

const (
	FromFile Source = iota
	FromACME
	FromLocalCA
)

func (s Source) String() string { return [...]string{"file", "acme", "local_ca"}[s] }

// Expiry is a certificate that is served now, and how long it may be.
type Expiry struct {
	Source   Source
	Names    []string
	NotAfter time.Time
}
