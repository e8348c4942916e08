// Package e2e tests the program from outside. Its tests build the binary once, start it as users do, and reach it only
// by its ports, files, signals and standard streams. Where a test needs another program, such as Prometheus, HAProxy or
// OPA, it runs the real one, and is skipped if that is not installed.
//
// The package holds tests only. Begin reading at deployment_test.go, which describes a server that tenants share.
package e2e

// The pictures of docs/monitoring.md show the load of TestMonitoring.
//go:generate env SESSIONSERVER_TEST_DRAW=../docs/monitoring go test -run TestMonitoring$ -count=1 .
