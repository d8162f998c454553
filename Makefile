# The two commands of the README are `make demo` and `make test`; `make help` lists the others. Nothing here needs root or a virtual
# environment, and only the tests need servers. What is fetched goes to $(SIDING_CACHE), outside of the checkout.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup demo up faults services services-stop services-status test check fmt lint tidy bench bench-servers doc clean need-cargo need-nextest need-python

export SIDING_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/siding
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
CARGO ?= cargo
PYTHON ?= python3
SERVICES = $(PYTHON) compose/services
# How often `make faults` breaks everything.
RUNS ?= 1
# Tests at once, where it is not said: most of the long ones wait for a server or a timeout, not for a core. Twice as many as cores was 17 to 37 s quicker on
# two of them (of 209 s), and left less to the tests that look at times.
export NEXTEST_TEST_THREADS ?= $(shell expr 1 + $$(getconf _NPROCESSORS_ONLN))
# For `make demo ARGS=--seconds=20` and the like.
ARGS ?=

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

need-cargo:
	@command -v $(CARGO) >/dev/null || { echo "siding: cargo is missing. Get it: https://rustup.rs (Rust 1.95 or newer)" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "siding: a C compiler is missing (SQLite is built from source). Get it: apt-get install --yes gcc libc6-dev" >&2; exit 1; }
	@want=$$(sed -n 's/^rust-version = "1\.\([0-9]*\)".*/\1/p' Cargo.toml); \
	have=$$($(CARGO) --version | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p'); \
	if [ "$${have:-0}" -lt "$$want" ]; then \
		echo "siding: cargo 1.$$have is too old, 1.$$want is needed. Get it: rustup toolchain install 1.$$want && rustup default 1.$$want" >&2; exit 1; \
	fi

need-nextest: need-cargo
	@$(CARGO) nextest --version >/dev/null 2>&1 || { echo "siding: cargo-nextest is missing. Get it: cargo install --locked cargo-nextest" >&2; exit 1; }

need-python:
	@command -v $(PYTHON) >/dev/null || { echo "siding: python3 is missing. Get it: apt-get install --yes python3 python3-pip" >&2; exit 1; }

setup: need-python ## Fetch ONNX Runtime and the real models into the cache (idempotent)
	@$(PYTHON) worker/models/fetch.py --cache "$(SIDING_CACHE)"

demo: need-cargo need-python ## Start Siding and drive it: many short jobs while a long one runs, and its worker killed
	@$(PYTHON) worker/models/fetch.py --cache "$(SIDING_CACHE)" --only magika romanizer terrain
	$(CARGO) build --locked --package siding
	@"$(TARGET)/debug/siding" demo --models "$(SIDING_CACHE)/models" $(ARGS)

up: need-cargo setup ## Run Siding here: one process, data in .siding/
	$(CARGO) build --locked --package siding
	@"$(TARGET)/debug/siding" up --data .siding --models "$(SIDING_CACHE)/models" $(ARGS)

services: need-python ## Start RabbitMQ, Postgres and Redis for tests on free loopback ports; prints their URLs
	@$(SERVICES) up

services-stop: need-python ## Stop them and drop their data
	@$(SERVICES) down

services-status: need-python ## Say which of them answer
	@$(SERVICES) status

# Built first, so that the servers do not take the compiler's cores. Servers that a SIDING_TEST_*_URL names or `make services` has started
# are used; the others are started for this run and end with it.
test: need-cargo setup ## Every suite on real servers, the ignored tests and the documentation's examples
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
		echo "$(CARGO) nextest run"; \
		$(CARGO) nextest run --locked --workspace --no-run && \
		$(SERVICES) run -- $(CARGO) nextest run --locked --workspace --run-ignored all && \
		$(CARGO) test --locked --workspace --doc --quiet; \
	else \
		echo "$(CARGO) test (cargo-nextest is not installed; it would be faster)"; \
		$(CARGO) test --locked --workspace --no-run && \
		$(SERVICES) run -- $(CARGO) test --locked --workspace --no-fail-fast -- --include-ignored; \
	fi

faults: need-nextest setup ## The fault suite on real servers, RUNS times (1); each run draws its own instants
	$(CARGO) nextest run --locked --package siding-tests --test fault --no-run
	@run=1; while [ "$$run" -le "$(RUNS)" ]; do \
		echo "run $$run of $(RUNS)"; \
		SIDING_FAULT_SILENT_CUTS=20 $(SERVICES) run -- $(CARGO) nextest run --locked --package siding-tests --test fault --run-ignored all --success-output final || exit 1; \
		run=$$((run + 1)); \
	done

check: fmt-check lint tidy test ## All that must hold before a merge: format, lints, fences, tests

.PHONY: fmt-check
fmt-check: need-cargo
	$(CARGO) fmt --all --check

fmt: need-cargo ## Format the sources
	$(CARGO) fmt --all

lint: need-cargo ## Clippy, warnings are errors
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

tidy: need-cargo ## The fences and the rules of style that a machine can hold
	$(CARGO) test --locked --quiet --package siding-tests --test tidy

doc: need-cargo ## Build the crates' documentation
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps

bench: need-cargo setup ## Measure dispatch and inference in release mode; prints JSON lines
	$(CARGO) build --locked --release --package siding
	"$(TARGET)/release/siding" bench dispatch
	"$(TARGET)/release/siding" bench inference --models "$(SIDING_CACHE)/models"

bench-servers: need-cargo need-python ## Measure dispatch over RabbitMQ and Postgres that wait for their disks, beside a raw loop
	$(CARGO) build --locked --release --package siding
	$(SERVICES) run --durable -- sh -c 'SIDING_STORE__URL="$$SIDING_TEST_DATABASE_URL" SIDING_BROKER__URL="$$SIDING_TEST_AMQP_URL" "$(TARGET)/release/siding" bench dispatch'

clean: ## Remove what was built here (the cache stays: $(SIDING_CACHE))
	$(CARGO) clean
