// Package e2e tests the program from outside: its tests build the binary once, start it as users do, and reach it by
// its ports, files, signals and standard streams alone. Where a test needs another program, such as Prometheus, HAProxy
// or OPA, it runs the real one.
//
// The package holds tests only. Begin reading at deployment_test.go, which describes a server that tenants share.
package e2e
