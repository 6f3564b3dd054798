SHELL       := bash
.SHELLFLAGS := -euo pipefail -c

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
INFO     := github.com/prometheus/common/version
TOOL     := go tool -modfile=tools.mod
UNIT     := $$(go list ./... | grep -v /e2e)
FUZZTIME ?= 30s
SOAK     ?= 1h
BIN      ?= bin/pushguard

# Fuzzed with every change: paths, bodies in text, protobuf, gzip and snappy, the policy
# and its relabelling, lines to StatsD, audit logs, the files of the state, recorded pushes.
INPUTS   := FuzzParsePath FuzzText FuzzProtobuf FuzzDecodeContent FuzzParse FuzzRelabel \
            FuzzLines FuzzScan FuzzFile FuzzRecordedFile

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/pushguard, one static binary
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X $(INFO).Version=$(VERSION) -X $(INFO).Revision=$(REVISION)' -o '$(BIN)' ./cmd/pushguard

dist: ## a release in dist: tarballs, deb, rpm, SBOM, checksums; the same bytes for the same commit
	deploy/packages/dist.sh

run: build ## start it, all embedded (or in front of PUSHGATEWAY_URL), and say what to try
	@BIN='$(BIN)' testdata/run.sh

demo: build ## ten failures that a bare Pushgateway reads as 1, and as 10 through pushguard
	@command -v prometheus-pushgateway >/dev/null || testdata/install.sh pushgateway
	@go run ./cmd/pushguard/e2e/demo '$(BIN)'

test: ## install what the tests need and run them all, end to end too
	testdata/install.sh
	PUSHGUARD_EVENTS=100000 go test -race -timeout 20m -p 3 $(UNIT)
	go test -count=1 -timeout 20m -run Million ./proxy/event # a million: under the race detector four times as long
	go test -count=1 -timeout 20m -p 4 -parallel 6 ./cmd/pushguard/e2e/...
	@[ "$${PUSHGUARD_LOKI:-}" = 1 ] || echo 'not run: events into a real Loki, whose build takes a quarter of an hour: make test-loki'

test-loki: loki ## events against a real Loki, too: a million of them
	PUSHGUARD_LOKI=1 go test -count=1 -timeout 30m -run Loki -v ./proxy/event ./cmd/pushguard/e2e

loki: ## build .cache/loki, which takes a quarter of an hour
	@mkdir -p .cache
	cd testdata/loki && go build -o ../../.cache/loki github.com/grafana/loki/v3/cmd/loki

lint: ## formatting, vet, staticcheck, module files, private registries
	@unformatted=$$(git ls-files '*.go' | xargs $(TOOL) gofumpt -l); [ -z "$$unformatted" ] || { echo "not gofumpt-ed: $$unformatted"; exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...
	go mod tidy -diff
	@! git grep -nE --untracked '"resolved": *"|registry *= *http|index-url|GOPROXY=' -- ':!Makefile' || { echo 'a registry is named above'; exit 1; }

# What is left out, and why: SECURITY.md.
gosec: ## look for faults of security; the tool itself takes ten minutes to build once
	go tool -modfile=deploy/gosec.mod gosec -quiet -exclude=G103,G115,G304,G404 \
	  -exclude-dir=e2e -exclude-dir=testdata -exclude-dir='[a-z]+test' ./...

bench: ## the speed of the push path
	go test -run '^$$' -bench . -benchmem -count 6 ./proxy/...

bench-explosion: ## 100,000 new run_ids, bare and guarded: the plot in docs, in about an hour
	go run ./cmd/pushguard/e2e/explosion

bench-gateway: ## pushguard beside the Pushgateway, haproxy and net/http alone, a table in a quarter of an hour
	@testdata/install.sh haproxy
	go run ./cmd/pushguard/e2e/gateways

bench-overload: ## three times what a guard can do: who is served, and how soon
	go run ./cmd/pushguard/e2e/overload

soak: ## SOAK (1h) of mixed load with a fault every minute, and everything as a model has it
	@command -v prometheus-pushgateway >/dev/null || testdata/install.sh pushgateway
	go run ./cmd/pushguard/e2e/soak -length $(SOAK)

fuzz: ## every fuzz test for FUZZTIME (30s), one a core
	@FUZZTIME=$(FUZZTIME) testdata/fuzz.sh

fuzz-inputs: ## the fuzz tests that every change has to pass, of all that a guard reads
	@FUZZTIME=$(FUZZTIME) testdata/fuzz.sh $(INPUTS)

fuzz-build: # what fuzz-inputs runs, built: it takes minutes the first time
	@testdata/fuzz.sh -build $(INPUTS)

.PHONY: help build dist run demo test test-loki loki lint gosec bench bench-explosion bench-gateway bench-overload soak fuzz fuzz-inputs fuzz-build
