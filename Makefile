# Each target is a few lines, and CI calls the same ones. `make help` lists them.
CARGO ?= cargo
CARGO_TARGET_DIR ?= target
export CARGO_TARGET_DIR
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
# The same executable, trusting the system's certificate authorities instead of Mozilla's.
SYSTEM_ROOTS = --no-default-features --features system-roots

.PHONY: help demo test check static install uninstall clean

help:
	@echo 'make demo       build, and run the whole exchange against stand-in servers on loopback'
	@echo 'make test       run all tests'
	@echo 'make check      formatting and lints'
	@echo 'make static     build the static executable (Linux, musl)'
	@echo 'make install    build and install to $$(DESTDIR)$$(PREFIX)/bin; now: $(BINDIR)'
	@echo 'make uninstall  remove it from there'
	@echo 'make clean      remove everything that was built'

demo:
	@$(CARGO) build --locked --example stand-in --bin token-mint
	@$(CARGO_TARGET_DIR)/debug/examples/stand-in $(CARGO_TARGET_DIR)/debug/token-mint

# The build that trusts the system's roots comes first, so that target/debug ends up with the usual one.
test:
	$(CARGO) test --locked $(SYSTEM_ROOTS) --test it tls::
	$(CARGO) test --locked

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets $(SYSTEM_ROOTS) -- -D warnings

static:
	@CARGO='$(CARGO)' .ci/static

install:
	$(CARGO) build --locked --release
	install -d '$(BINDIR)'
	install -m 755 '$(CARGO_TARGET_DIR)/release/token-mint' '$(BINDIR)/token-mint'

uninstall:
	rm -f '$(BINDIR)/token-mint'

clean:
	$(CARGO) clean
