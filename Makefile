# `make` lists what there is. Cargo does the building; these are the recipes around it.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# Where the built programs are.
BINARIES ?= target/release
# For `make soak`: how often the daemon is killed.
ROUNDS ?= 200
# For `make soak` and `make fuzz`: how long each parser is tried.
FUZZ_SECONDS ?= 60
# For `make bench`: such as ARGS="--quick --rows run,submit".
ARGS ?=

PLACES = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' SYSCONFDIR='$(SYSCONFDIR)' BINARIES='$(BINARIES)'

.PHONY: help demo build test lab bench soak fuzz install uninstall deb

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## build, run real work under a private daemon, show what happened, leave nothing behind
	@.ci/with rust python -- examples/demo.sh

build: ## build the release binaries
	.ci/with rust -- cargo build --release --locked

# No release build in here: it would double the time for nothing a test looks at.
test: ## format, lints and every test
	.ci/with rust lint -- cargo fmt --check
	.ci/with rust lint -- cargo clippy --all-targets --locked -- -D warnings
	.ci/with rust programs checks -- cargo test --locked
	.ci/with python -- python3 -B -m unittest discover -s examples -p 'test_*.py'
	.ci/with python -- python3 -B -m unittest discover -s benches -p 'test_*.py'

lab: ## the tests under a real systemd alone; those of packages boot one too
	.ci/with rust -- cargo test --locked --test lab --test packages -- --nocapture

bench: ## measure against pueue, task-spooler and recorders (ARGS="--quick --rows NAME,…")
	.ci/with rust python -- python3 -B benches/bench.py $(ARGS)

soak: ## kill daemon and shims at ROUNDS random instants and look for anything lost; then `make fuzz`
	STOKED_SOAK_ROUNDS=$(ROUNDS) .ci/with rust -- cargo test --locked --test e2e -- --nocapture soak
	@$(MAKE) --no-print-directory fuzz

fuzz: ## feed nonsense to every parser, FUZZ_SECONDS each, and check what comes of it
	FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/with rust fuzz -- tests/fuzz/run

# Building is left to `make build`, so that root never compiles.
install: ## install what `make build` made (DESTDIR=, PREFIX=/usr/local, SYSCONFDIR=/etc)
	@$(PLACES) packaging/install put

uninstall: ## remove what `make install` put there; what was edited and state stay
	@$(PLACES) packaging/install remove

deb: build ## make the Debian package below target/packages
	.ci/with packages -- packaging/deb/build --binaries $(BINARIES) --check
