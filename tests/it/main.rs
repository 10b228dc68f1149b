//! The one test program: it links once.

#[path = "../common/mod.rs"]
mod common;

mod cli;
mod delivery;
mod layers;
mod road;
mod tokens;
mod transcripts;
