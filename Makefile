# make check     format, vet, staticcheck, tidiness: seconds
# make test      services and check, then every test of the three modules, raced
# make bench     the benchmarks of the core, then the speed table of the README
# make fuzz      every fuzz target for FUZZTIME each
# make run       the local venue, with RUNFLAGS
# make sim       schedules of the simulator for SIMTIME, then its planted bugs
# make soak      SOAKRATE orders a second on a venue for SOAKTIME; its memory must stay flat
# make lambda    the zips of the functions on AWS, for both architectures, into LAMBDADIR
# make aws-local the pipeline on AWS, on this machine, with AWSFLAGS
# make services  what the tests need beside Go

SHELL := bash
.DEFAULT_GOAL := test

# The developer's own flags must not decide what is tested.
export GOFLAGS :=

MODULES     := . adapters examples
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 30s
SIMTIME     ?= 3m
SOAKTIME    ?= 10m
SOAKRATE    ?= 1000
RUNFLAGS    ?=
AWSFLAGS    ?=
LAMBDADIR   ?= lambda

.PHONY: check test bench fuzz run sim soak lambda aws-local services

# Inside a workspace an incomplete go.sum goes unnoticed, so each module is
# looked at on its own as well.
check:
	@set -eu -o pipefail; \
	unformatted=$$(git ls-files -z --cached --others --exclude-standard -- '*.go' | xargs -0 gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt -w is due on:"; echo "$$unformatted"; exit 1; fi
	go vet work
	go run $(STATICCHECK) work
	@set -eu; for module in $(MODULES); do \
		echo "GOWORK=off go -C $$module vet ./... && mod tidy -diff"; \
		GOWORK=off go -C $$module vet ./...; \
		GOWORK=off go -C $$module mod tidy -diff; \
	done

# Whether the race detector answers is tried, not guessed: it needs cgo, a C
# compiler and an architecture it supports. Tests that mean nothing under it
# (allocations, memory, minutes of work) are named TestNoRace and built only
# without it; they run first, so that the last lines are those of the whole.
test: services
	@set -eu; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	printf 'module probe\n' >"$$dir/go.mod"; \
	printf 'package main\n\nimport "C"\n\nfunc main() {}\n' >"$$dir/main.go"; \
	race=-race; \
	if ! answer=$$(GOWORK=off go -C "$$dir" run -race . 2>&1); then \
		race=; export CGO_ENABLED=0; \
		echo "Testing WITHOUT the race detector. It needs cgo and a C compiler, and does not answer:"; echo "$$answer"; \
		if [ "$${EXCHANGE_STRICT:-}" = 1 ]; then echo "EXCHANGE_STRICT=1: that is a failure."; exit 1; fi; \
	fi; \
	$(MAKE) --no-print-directory check; \
	if [ -n "$$race" ]; then \
		echo "go test -count=1 -run '^TestNoRace' work"; \
		go test -count=1 -run '^TestNoRace' work; \
	fi; \
	echo "go test -count=1 $$race work"; \
	go test -count=1 $$race work

bench:
	go test -run '^$$' -bench . -benchmem .
	go run ./internal/speed

# go test fuzzes one target of one package at a time.
fuzz:
	@set -eu; packages=$$(go list work); \
	for package in $$packages; do \
		targets=$$(go test -list '^Fuzz' "$$package"); \
		for target in $$(grep '^Fuzz' <<<"$$targets"); do \
			echo "go test -run '^$$' -fuzz '^$$target\$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$package"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x "$$package"; \
		done; \
	done

run:
	go run ./examples/exchange $(RUNFLAGS)

lambda:
	go run ./examples/aws/lambdazip -out $(LAMBDADIR)

# Not by go run, which would hand ctrl-C on only after it has ended itself.
aws-local: services
	@set -eu; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	go build -o "$$dir/local" ./examples/aws/local; \
	"$$dir/local" $(AWSFLAGS)

# Neither has a time limit but its own: go test would end them after ten minutes.
sim:
	go test -count=1 -timeout 0 -v -run 'TestNoRaceSim$$' ./exchangetest/simulator -sim.time=$(SIMTIME)
	go test -count=1 -timeout 0 -v -run 'TestNoRaceSimPlanted$$' ./exchangetest/simulator

soak:
	go test -count=1 -timeout 0 -v -run 'TestNoRaceSoak$$' ./examples/exchange -soak.time=$(SOAKTIME) -soak.rate=$(SOAKRATE)

# Chromium, Redis, PostgreSQL, Java, and the stand-ins of AWS that npm has.
services:
	@scripts/services
