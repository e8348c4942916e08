package certs

import "time"

// Observer is told what happens to certificates. Its methods are called by several goroutines, must be quick and must
// not call the Certs.
type Observer interface {
	CertificateChanged(Event)
	FilesRead(err error) // all files were read; those in err could not be used, and what they held before stays
}

// Event is something that happened to a certificate.
type Event struct {
	Kind     EventKind
	Source   Source
	Names    []string
	NotAfter time.Time // when it expires; zero for Failed and Removed
	Err      error     // for Failed
}

// EventKind says what happened.
type EventKind uint8

const (
	Loaded   EventKind = iota // read from a file for the first time, or made by the local CA
	Obtained                  // got from the ACME server for the first time
	Renewed                   // another took its place: a file that was replaced, or one from ACME
	Failed                    // it could not be had; what there was before stays
	Expiring                  // a file that nobody renewed has less than 14 days left
	Removed                   // it is not served any more
)

func (k EventKind) String() string {
	return [...]string{"loaded", "obtained", "renewed", "failed", "expiring", "removed"}[k]
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

type nobody struct{}

func (nobody) CertificateChanged(Event) {}
func (nobody) FilesRead(error)          {}
