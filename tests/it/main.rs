//! The one test program: it links once.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod audit;
mod catalogue;
mod cli;
mod clients;
mod console;
#[cfg(unix)]
mod courier;
mod crash;
mod delivery;
mod doctor;
mod expiry;
mod governor;
mod grants;
mod graph;
mod imap;
mod journal;
mod keys;
mod layers;
mod limits;
mod mended;
mod metrics;
mod patience;
mod pop3;
mod provoked;
mod proxy;
mod queue;
mod regressions;
mod reports;
mod road;
mod rotation;
mod scopes;
mod secrets;
mod senders;
mod sent_copies;
mod setup;
mod shutdown;
mod sign_in;
mod tokens;
mod transcripts;
mod unknown;
