// Package configs reads what an operator has written: the structs of the configuration, their defaults, and strict loading that reports
// everything wrong at once as file:line: key: problem. The files that ship with the server lie beside it, embedded where the binary
// needs them: reference.yaml shows every setting with its default, dev.yaml is what `serve --dev` runs.
//
// It must never know the packages that it configures; cmd/sessionserver hands each its part. A rule about a value that one of them has stated
// itself is asked there: the function that asks goes to [Load], so that all is told at once, and takes from [Config.Problem] its place in the file.
//
// Begin reading at [Config] and [Parse].
package configs
