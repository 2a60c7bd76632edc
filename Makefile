# `make` lists what there is. Cargo does the building; these are the recipes around it.

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
DESTDIR ?=
# For `make soak`: how often the daemon is killed.
ROUNDS ?= 200
# For `make soak` and `make fuzz`: how long each parser is tried.
FUZZ_SECONDS ?= 60
# For `make bench`: such as ARGS="--quick --rows run,submit".
ARGS ?=

BIN = $(DESTDIR)$(PREFIX)/bin
LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/stoked
SHARE = $(DESTDIR)$(PREFIX)/share

.PHONY: help demo build test bench soak fuzz install uninstall

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
	.ci/with rust programs -- cargo test --locked
	.ci/with python -- python3 -B -m unittest discover -s examples -p 'test_*.py'
	.ci/with python -- python3 -B -m unittest discover -s benches -p 'test_*.py'

bench: ## measure against pueue, task-spooler and recorders (ARGS="--quick --rows NAME,…")
	.ci/with rust python -- python3 -B benches/bench.py $(ARGS)

soak: ## kill daemon and shims at ROUNDS random instants and look for anything lost; then `make fuzz`
	STOKED_SOAK_ROUNDS=$(ROUNDS) .ci/with rust -- cargo test --locked --test e2e -- --nocapture soak
	@$(MAKE) --no-print-directory fuzz

fuzz: ## feed nonsense to every parser, FUZZ_SECONDS each, and check what comes of it
	FUZZ_SECONDS=$(FUZZ_SECONDS) .ci/with rust fuzz -- tests/fuzz/run

# Building is left to `make build`, so that root never compiles.
install: ## install what `make build` made (DESTDIR=, PREFIX=/usr/local, SYSCONFDIR=/etc)
	@for name in stoked stoked-shim stoke; do \
	    test -x target/release/$$name || { echo "error: target/release/$$name is missing: run 'make build' first" >&2; exit 1; }; \
	done
	install -d $(BIN) $(LIBEXEC) $(SHARE)/doc/stoked
	install -m 755 target/release/stoked target/release/stoke $(BIN)
	install -m 755 target/release/stoked-shim $(LIBEXEC)
	install -m 644 LICENSE packaging/CHANGELOG.md $(SHARE)/doc/stoked
	install -d $(SHARE)/stoked/adapters.d
	install -m 644 packaging/adapters.d/* $(SHARE)/stoked/adapters.d
	@# A configuration that is there belongs to whoever edited it.
	@if [ -f packaging/config/stoked.toml ] && [ ! -e $(DESTDIR)$(SYSCONFDIR)/stoked/stoked.toml ]; then \
	    install -D -m 644 packaging/config/stoked.toml $(DESTDIR)$(SYSCONFDIR)/stoked/stoked.toml; \
	fi
	@# Man pages and completions come out of the client itself, so that they cannot say something else than it does.
	install -d $(SHARE)/man/man1
	target/release/stoke man --dir $(SHARE)/man/man1
	install -d $(SHARE)/man/man8
	target/release/stoked --man > $(SHARE)/man/man8/stoked.8
	@$(call generate,completions bash,share/bash-completion/completions/stoke)
	@$(call generate,completions zsh,share/zsh/site-functions/_stoke)
	@$(call generate,completions fish,share/fish/vendor_completions.d/stoke.fish)

# $(call generate,ARGUMENTS OF stoke,PATH BELOW PREFIX)
define generate
text=$$(target/release/stoke $(1)) && test -n "$$text" || { echo "error: 'stoke $(1)' printed nothing" >&2; exit 1; }; \
install -d $(DESTDIR)$(PREFIX)/$(dir $(2)) && printf '%s\n' "$$text" > $(DESTDIR)$(PREFIX)/$(2) && chmod 644 $(DESTDIR)$(PREFIX)/$(2)
endef

uninstall: ## remove what `make install` put there; configuration and state stay
	rm -f $(BIN)/stoked $(BIN)/stoke $(LIBEXEC)/stoked-shim
	rm -f $(SHARE)/man/man1/stoke.1 $(SHARE)/man/man1/stoke-*.1 $(SHARE)/man/man8/stoked.8
	rm -f $(SHARE)/bash-completion/completions/stoke
	rm -f $(SHARE)/zsh/site-functions/_stoke $(SHARE)/fish/vendor_completions.d/stoke.fish
	rm -rf $(SHARE)/doc/stoked
	@# Somebody else's package may have put adapters there.
	for name in packaging/adapters.d/*; do rm -f $(SHARE)/stoked/adapters.d/$${name##*/}; done
	-rmdir $(SHARE)/stoked/adapters.d $(SHARE)/stoked
	-rmdir $(LIBEXEC)
