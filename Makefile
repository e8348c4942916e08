# make run: build and start the server for trying. make test: set up what the tests need and run every one.

VERSION     := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME    ?= 20s
BENCHTIME   ?= 1s
PEERFLAGS   ?= -case main

.PHONY: build run test setup lint bench bench-peer fuzz clean

build:
	go build -ldflags "-X main.version=$(VERSION)" -o bin/sessionserver ./cmd/sessionserver

run: build
	./bin/sessionserver serve --dev

# Installs the programs that tests run. Without them `go test ./...` skips tests, with a reason; `make test` fails.
setup:
	./scripts/setup-tests

test: setup lint
	PATH="$$(go env GOPATH)/bin:$$PATH" SESSIONSERVER_TEST_ALL=1 go test -race -vet=off -timeout 30m ./...

lint:
	test -z "$$(gofmt -l .)" || { gofmt -l .; echo "make lint: gofmt -w these files"; exit 1; }
	go vet ./...
	go run $(STATICCHECK) ./...
	go test .
	./scripts/govulncheck $(GOVULNCHECK)

bench:
	go test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

# Measures the server beside Redis, see docs/performance.md. PEERFLAGS='-case all -rounds 3' are all cases.
bench-peer:
	go run ./e2e/peer $(PEERFLAGS)

# Runs each fuzzer for FUZZTIME, and prints its executions per second.
fuzz:
	./scripts/fuzz $(FUZZTIME)

clean:
	rm -rf bin
