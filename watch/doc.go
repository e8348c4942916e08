// Package watch reports when files may have changed.
//
// The system reports most changes at once. It does not report those on network file systems, nor those behind a link
// that leads elsewhere; a poll detects them. A file is often written in several steps, and several files belong
// together, so a change is reported when the files have settled.
//
// The package must never know what the files are for: its user names the folders, and describes their content.
//
// Begin reading at [Run].
package watch
