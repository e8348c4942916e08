// Package metrics counts the server's events and exposes them to Prometheus. All metric families are declared in
// families.go, with names, labels and buckets. Each other file observes one package: connection.go observes server,
// session.go observes session, and so on. State, as opposed to events, is collected at each scrape: state.go.
//
// Counting an event of a command allocates nothing and holds no lock for long. Label values are known beforehand:
// commands of the table, codes, gates, listeners and configured tenants. A client cannot create a label value.
//
// Only this package imports Prometheus. It imports the packages that it observes, and must never be imported by them.
//
// Begin reading at families.go.
package metrics
