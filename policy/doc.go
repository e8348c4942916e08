// Package policy defines the question that a policy decides and the form of the decision. On the path of a
// request it is the gate "policy" of Call.admit (see package server).
//
// Every operation of every client becomes an [Input], and an [Engine] returns a [Decision] for it. An operation is
// denied unless the policy allows it. So an undefined policy denies, and so does one that fails or exceeds its time.
// docs/policy.md describes how an operation becomes inputs, one for each key that it names.
//
// The package must never depend on how decisions are made (see package opa), nor on sessions, connections and the
// wire. An Input contains no session id and no value, so a policy cannot decide about them and a log cannot contain
// them.
//
// Begin reading at [Input], then at package policy/opa.
package policy
