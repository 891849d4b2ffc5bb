# `make` alone lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export CARGO_TERM_COLOR ?= never

WEB_BUILT := web/dist/graphiql/index.html
WEB_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' 2>/dev/null)
# The server and the Rust client; always both, so that their libraries are built once, with the features of both.
ALL := --workspace --all-features
CLIENTS_INSTALLED := tests/clients/node_modules/.package-lock.json
PEER_INSTALLED := benches/peers/node/node_modules/.package-lock.json

.PHONY: help run test check fmt lint unit it faults-short fault clients schema web peers bench soak system

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: web ## serve on http://127.0.0.1:8080 with an embedded log in ./data and a sample feed
	cargo run --release -- serve --demo

test: system check unit it faults-short clients ## everything CI runs: formatting, lints, Rust tests, real clients, a real browser

check: fmt lint ## formatting and lints

fmt:
	cargo fmt --all --check

lint: web
	cargo clippy $(ALL) --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc $(ALL) --no-deps --document-private-items

unit: web ## the tests inside the rooms, and the examples of the documentation
	cargo test $(ALL) --lib --bins
	cargo test $(ALL) --doc

it: web ## the tests through a real listener, and the Rust client against the real server
	cargo test $(ALL) --test it

faults-short: web ## harm done to the real binary, and what must survive it, in about a minute
	cargo test --test fault_checker
	cargo test --test fault -- short

fault: web ## the same in its long forms, some ten minutes; as root all of them run
	cargo build --release
	cargo test --test fault -- long --fanfare $${CARGO_TARGET_DIR:-target}/release/fanfare

clients: web $(CLIENTS_INSTALLED) ## clients from npm, the audits, and GraphiQL in a browser, against the real binary
	cargo build
	cd tests/clients && FANFARE_BIN=$${CARGO_TARGET_DIR:-../../target}/debug/fanfare npm test

schema: ## write schema.graphql from the code
	UPDATE=1 cargo test --lib schema_graphql_is_what_the_code_prints

web: $(WEB_BUILT) ## build GraphiQL into web/dist; the next cargo build embeds it

$(WEB_BUILT): $(WEB_SOURCES)
	cd web && npm ci --no-fund --no-audit && npm run typecheck && npm run format:check && npm run build
	@touch $@

$(CLIENTS_INSTALLED): tests/clients/package-lock.json
	cd tests/clients && npm ci --no-fund --no-audit
	@touch $@

$(PEER_INSTALLED): benches/peers/node/package-lock.json
	cd benches/peers/node && npm ci --no-fund --no-audit
	@touch $@

peers:
	$(MAKE) --no-print-directory $(PEER_INSTALLED) || echo "graphql-ws on Node will be left out" >&2
	./tests/install-needed redis-server nats-server || echo "peers that are missing will be left out" >&2
	cargo build --release --bins --examples

bench: peers ## the goals measured beside their peers, one table (10 minutes; BENCH="--quick", "--rows storm", "--json")
	ulimit -n $$(ulimit -Hn) && cargo bench --bench fanout -- $(BENCH)

soak: peers ## half the maximum rate for 10 minutes; memory and open files must stay flat (BENCH="--soak-s 60")
	ulimit -n $$(ulimit -Hn) && cargo bench --bench fanout -- --rows soak $(BENCH)

system: ## install what the tests need and is missing, through the system's package manager
	@./tests/install-needed
