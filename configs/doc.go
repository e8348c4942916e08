// Package configs reads what an operator has written: the structs of the configuration, their defaults, and strict loading that reports
// everything wrong at once as file:line: key: problem. The files that ship with the server lie beside it, embedded where the binary
// needs them: reference.yaml shows every setting with its default, dev.yaml is what `serve --dev` runs.
//
// It knows the vocabulary of packages auth, session and wire, and checks names, credentials and rules for sessions by
// theirs. It must never know the server, the storage or the policy engine: package app hands each its part. A rule that
// such a package states goes to [Load] as a function, which takes from [Config.Problem] its place in the file.
//
// Begin reading at [Config] and [Parse].
package configs
