// Command sessionserver keeps web session data for many hosts, applications and programming languages.
//
// Each subcommand has a file of its name: flags, messages and nothing else. The server itself is package app, which
// serve runs and check examines.
package main
