// Package opa decides by policies in Rego, with the Open Policy Agent inside the process. It is the only package that
// imports OPA.
//
// A [Source] provides files: the operator's policy, and in tenants/NAME the policy of a tenant. Each policy is
// compiled separately into a program (program.go), and type-checked against the schema of its input. So no policy can
// see, change or shadow the rules of another one. Programs and data form a snapshot (snapshot.go). In it the program
// of a tenant sees only the data of that tenant. An operation needs the consent of both policies. An [Engine]
// replaces whole snapshots, so a decision never comes from a mixture.
//
// An evaluation takes tens of microseconds. Therefore decisions are cached by exactly those facts of an input that
// the rules can read. reads.go determines these facts, field.go encodes them as cache keys, and cache.go holds the
// decisions, within bounds. A decision that depends on more than input and data, such as the clock, is not cached.
//
// Begin reading at Engine.Decide, then snapshot.decide.
package opa
