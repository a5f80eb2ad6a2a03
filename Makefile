# Each target is a few lines, and CI calls the same ones. `make help` lists them.
CARGO ?= cargo
CARGO_TARGET_DIR ?= target
export CARGO CARGO_TARGET_DIR
PREFIX ?= /usr/local
DESTDIR ?=
BINDIR = $(DESTDIR)$(PREFIX)/bin
FUZZ_SECS ?= 20
# A release's assets: built here, and downloaded.
DIST ?= dist
PUBLISHED ?= published
# Not checked by default: advisories, whose list is on GitHub.
DENY ?= bans licenses sources
IMAGE = $(CARGO_TARGET_DIR)/image
# The build that trusts the system's certificate authorities instead of Mozilla's.
SYSTEM_ROOTS = --no-default-features --features system-roots
# What is built and tested on macOS and Windows, too.
PORTABLE = --bin token-mint --test it --example stand-in

.PHONY: help demo test test-portable test-action test-clients fuzz sweep bench screenshot check lint-action static install uninstall dist bom wheels image deny \
	reproducible pin release verify clean

help:
	@echo 'For users'
	@echo '  make install       build and install to $$(DESTDIR)$$(PREFIX)/bin, now: $(BINDIR). Without cargo: fetch a release'
	@echo '  make uninstall     remove it from there'
	@echo '  make demo          build, and run the whole exchange against stand-in servers on loopback'
	@echo '  make verify        build, and compare with the release in $$(PUBLISHED), which is downloaded, and with action.yml'
	@echo 'For developers'
	@echo '  make check         formatting and lints'
	@echo '  make test          all tests but those below; then open a pull request'
	@echo '  make test-portable lints and tests, as far as macOS and Windows have them, too; on those'
	@echo '  make test-action   tests of the action (see tests/action/main.rs); downloads a workflow runner'
	@echo '  make test-clients  tests with real upload clients (see tests/clients/main.rs); downloads them'
	@echo '  make lint-action   lint action.yml, the workflows and the scripts; downloads the linters'
	@echo '  make fuzz          fuzz each target of tests/fuzz for $$(FUZZ_SECS) seconds, now: $(FUZZ_SECS); needs a C++ compiler'
	@echo '  make sweep         let each system call of a run fail, and look for lost tokens (Linux, x86_64)'
	@echo '  make bench         measure it beside a script with curl and jq, and draw docs/performance.svg (Linux)'
	@echo '  make screenshot    draw docs/refused-*.png; needs npm, chromium and pngquant'
	@echo '  make static        build the static executable for this processor (Linux, musl) as it is released'
	@echo '  make clean         remove everything that was built'
	@echo 'For maintainers'
	@echo '  make deny          check licences and sources of all crates; builds cargo-deny'
	@echo '  make dist          build the release assets of this kind of machine, and SHA256SUMS, in $$(DIST), now: $(DIST)'
	@echo '  make bom           write what is compiled in, and its licences, into $$(DIST); needs jq; builds cargo-cyclonedx'
	@echo '  make wheels        make Python wheels of the executables in $$(DIST)'
	@echo '  make image         make a container image of them in $(IMAGE) (Linux; needs buildah)'
	@echo '  make reproducible  build again in another folder, and compare with $$(DIST)'
	@echo '  make pin           write version, repository and sums of $$(DIST) into action.yml'
	@echo '  make release       pin, commit, tag, push and publish $$(DIST); for the release workflow'

demo:
	@$(CARGO) build --locked --example stand-in --bin token-mint
	@$(CARGO_TARGET_DIR)/debug/examples/stand-in $(CARGO_TARGET_DIR)/debug/token-mint

# The build that trusts the system's roots comes first, so that the usual build stays in target/debug. The tests mostly wait, so
# there are more threads than processors.
test:
	rm -rf $(CARGO_TARGET_DIR)/tmp/said
	$(CARGO) test --locked $(SYSTEM_ROOTS) --test it tls:: -- --test-threads 4
	$(CARGO) test --locked -- --test-threads 4
	$(CARGO) test --locked --test leaks

# Each test that is left out on macOS or Windows says why.
test-portable:
	$(CARGO) clippy --locked $(PORTABLE) -- -D warnings
	$(CARGO) test --locked $(SYSTEM_ROOTS) --test it tls:: -- --test-threads 4
	$(CARGO) test --locked $(PORTABLE) -- --test-threads 4

test-action:
	$(CARGO) test --locked --test action -- --test-threads 4

# With the system's roots, so that TLS can be tested. Then the usual build is made again for target/debug.
test-clients:
	CLIENTS=$$(.ci/install-clients) && export CLIENTS && $(CARGO) test --locked $(SYSTEM_ROOTS) --test clients
	$(CARGO) build --locked

fuzz:
	@.ci/fuzz '$(FUZZ_SECS)'

# tests/sweep/main.rs says how to run a sample or a single case.
sweep:
	$(CARGO) test --locked --test sweep -- --nocapture --test-threads 1

bench:
	@.ci/bench

screenshot:
	@.ci/screenshot

check:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path tests/fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --all-targets $(SYSTEM_ROOTS) -- -D warnings
	$(CARGO) clippy --locked --test action --test clients --test leaks --test sweep -- -D warnings # those are not in "all"

lint-action:
	@.ci/lint-action

deny:
	@$$(src/scripts/cargo-tool cargo-deny 0.20.2)/cargo-deny --locked check $(DENY)

static:
	@src/scripts/build

install:
	@src/scripts/install '$(BINDIR)'

uninstall:
	rm -f '$(BINDIR)/token-mint'

dist:
	@src/scripts/dist '$(DIST)'

bom:
	@src/scripts/bom '$(DIST)'
	@src/scripts/sums '$(DIST)' >'$(DIST)/SHA256SUMS'

wheels:
	@src/scripts/wheels '$(DIST)' '$(DIST)'
	@src/scripts/sums '$(DIST)' >'$(DIST)/SHA256SUMS'

image:
	@src/scripts/image '$(DIST)' '$(IMAGE)'

reproducible:
	@src/scripts/reproducible '$(DIST)' x86_64-unknown-linux-musl

pin:
	@src/scripts/pin '$(DIST)'

release:
	@src/scripts/release '$(DIST)'

verify: dist bom
	@src/scripts/verify '$(PUBLISHED)' '$(DIST)'

clean:
	$(CARGO) clean
	rm -rf '$(DIST)'
