//! The one test program.

mod cli;
mod transcripts;
