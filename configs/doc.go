// Package configs reads the configuration and the tenants' files. It has their structs, their defaults, and strict
// loading that reports all mistakes at once, as file:line: key: problem.
//
// The files that ship with the server are in this folder, embedded where the binary needs them. reference.yaml has
// every setting with its default; dev.yaml is the configuration of `serve --dev`.
//
// The package uses the vocabulary of packages auth, session and wire, and checks names, credentials and session
// settings with it. It must never know the server, the storage or the policy engine: package app passes each its part.
// A check that such a package defines goes to [Load] as a function, so that its problems are reported with all others;
// [Config.Problem] adds the position in the file.
//
// Begin reading at [Config] and [Parse].
package configs
