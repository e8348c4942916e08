// Package policy says what a policy is asked and what it answers. It is the step after the rates and before the audit log in the request path that
// server/doc.go draws.
//
// Every operation of every client becomes an [Input]; an [Engine] answers it with a [Decision]. Whatever is not a clear yes is a no: a policy that is
// undefined, that fails or that takes too long refuses. docs/policy.md tells how an operation becomes inputs: one for
// each key that it names.
//
// The package must never know how decisions are made (package opa does), nor anything of sessions, connections or the wire. An Input can hold no
// session id and no value: what is not there can be neither decided upon nor logged.
//
// Begin reading at [Input], then policy/opa.
package policy
