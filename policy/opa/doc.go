// Package opa decides by policies written in Rego, with the Open Policy Agent inside the process. It is the one package that knows OPA.
//
// A [Source] has files: the operator's policy, and in tenants/NAME that of a tenant. Each is compiled by itself into a program (program.go), against
// what input can be, so that none can see, change or shadow another's rules; programs and data make a snapshot (snapshot.go), in which a
// tenant's program finds that tenant's data alone. Both must allow. An [Engine] swaps whole snapshots and so never answers with a mixture.
//
// Evaluation takes tens of microseconds, therefore answers are remembered by exactly those facts of an input that the rules can read. reads.go
// finds these; field.go makes keys of them; cache.go keeps the answers, within bounds. Answers that depend on more than input and data, such as the
// clock, are not remembered.
//
// Begin reading at Engine.Decide, then snapshot.decide.
package opa
