// Package app is the process: a server assembled from a configuration, which any program or test can embed.
//
// [New] opens the parts, one after the other, and closes those that are open if one fails:
//
//	metrics, audit log, certificates, address for operators, storage, policies, server, tenants, listeners
//
// [App.Run] serves until its context ends, drains, and returns. [App.Close] closes the parts in reverse order.
// [App.Reload] reads everything again that can change meanwhile; a part that fails keeps its previous state and is
// tried again (reload.go). [Examine] finds what is wrong with the files and folders that a configuration names; both
// the command check and a running server use it.
//
// The package imports every other one, and only cmd/sessionserver imports it. It has no rule of its own about sessions,
// and no flag or terminal.
//
// Begin reading at [New].
package app
