// Package tenants follows the files of a server's tenants, and edits them for commands.
//
// A [Follower] reads the folder, applies the files to the server, and repeats that whenever they change. A file with
// mistakes keeps its last valid state in force. An observer receives an [Event] of each look, each new mistake and each
// change. The sessions of a deleted tenant are dropped in the background.
//
// A [Folder] changes the files for commands: one command at a time, by atomic replacement, and never through links. A
// command can wait until each running server has the change in force.
//
// The package does not import the network, the storage or the log of audit events: package app passes functions.
//
// Begin reading at [New] and [Follower.Run].
package tenants
