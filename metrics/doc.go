// Package metrics counts what a server does and shows it to Prometheus. families.go declares all that there is, with names, labels and buckets;
// the other files are the observers that feed it, one for each package that tells of something: connection.go for server, session.go for session,
// and so on. What is a state rather than an event is asked for when somebody looks: state.go.
//
// Counting costs a command no allocation and no lock that is held for long. A label has only values that are known beforehand: the names of the
// command table, codes, gates, listeners, and tenants that are configured. Nothing that a client makes up becomes one.
//
// It alone knows Prometheus. It knows the packages that it watches, and nobody but cmd/sessionserver knows it.
//
// Begin reading at families.go.
package metrics
