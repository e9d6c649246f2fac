//! The engine on real files: what the copy contract promises, one behaviour per test.

// Helpers outside `#[test]` functions may fail loudly as well.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod batches;
mod copies;
mod exchanging;
mod faults;
mod folders;
mod mending;
mod names;
mod paths;
mod places;
mod proofs;
mod properties;
mod publishing;
mod resuming;
mod threads;
mod vectors;
