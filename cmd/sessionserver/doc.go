// Command sessionserver keeps web session data for many hosts, applications and programming languages.
//
// It knows every package and holds no rule of its own: begin reading at assemble.go, where a configuration becomes a running server,
// and drivers.go for the storage drivers there are. Each subcommand has a file of its name.
package main
