// Package flood uses up what one tenant can of a server: connections, locks, memory, handshakes. The tests and the
// benchmarks of e2e run it against another tenant that works.
//
// Begin reading at [Flood], and at kind.go for each kind of flood.
package flood
