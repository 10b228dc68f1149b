//! The one test program: it links once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod cli;
mod clients;
mod delivery;
mod imap;
mod keys;
mod layers;
mod limits;
mod mended;
mod pop3;
mod regressions;
mod road;
mod secrets;
mod shutdown;
mod tokens;
mod transcripts;
