//! `make pin`, `make verify` and `make release`: what the release workflow calls.
