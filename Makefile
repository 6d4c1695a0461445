# `make` alone tells what there is. Demo and tests share one build profile, so that the second builds little.
.DEFAULT_GOAL := help
# `make rotation ROTATIONS=2` is the short form, `POOLS=pgx,hikaricp` runs only those.
comma := ,
ROTATIONS ?= 50
POOLS ?= all
BUILT_APART = $(filter-out sqlx pgbouncer,$(subst $(comma), ,$(POOLS)))

.PHONY: help demo dev test rotation interop crash bench setup fmt lint check fuzz

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Install what is missing, build, and run the whole story on throwaway parts
	scripts/setup
	cargo build
	target/debug/leasehold dev --demo

dev: ## Keep a whole broker with throwaway CA, store and database running, and show commands to try
	scripts/setup
	cargo build
	target/debug/leasehold dev

test: ## Install what the tests need and run all of them
	scripts/setup --tests
	cargo test --workspace --no-fail-fast

rotation: ## Run every pool of docs/pools.md through 50 rotations under load (an hour; needs Python, Go, Java and Node)
	scripts/setup --tests
	$(if $(BUILT_APART),scripts/examples $(patsubst all,pools,$(BUILT_APART)))
	cargo build --example pool-sqlx
	LEASEHOLD_ROTATIONS=$(ROTATIONS) LEASEHOLD_ROTATION_POOLS=$(POOLS) cargo test --test it -- rotation::no_pool --nocapture

interop: ## Let libraries of other languages fetch and verify tokens (minutes; needs Python, Go, Java and Node)
	scripts/setup --tests
	scripts/examples tokens
	LEASEHOLD_INTEROP=all cargo test --test it -- interop:: --nocapture

crash: ## Kill brokers a thousand times under load, and all else that goes wrong (an hour)
	scripts/setup --tests
	LEASEHOLD_CRASH_KILLS=250 cargo test --test it -- crash:: --nocapture --test-threads=2

bench: ## Compare the broker with the bare database, bare signing and the bare SDK (release build)
	scripts/setup --tests
	cargo bench --bench broker

setup: ## Install what building, demo and tests need, and nothing else
	scripts/setup --tests

fmt: ## Format the code
	cargo fmt --all

lint: ## Formatting and lints, as CI has them
	cargo fmt --all -- --check
	cargo clippy --workspace --all-targets -- -D warnings

check: lint test ## All that CI does

fuzz: ## Fuzz each parser of hostile input for a minute (needs cargo-fuzz and a nightly toolchain)
	scripts/fuzz
