//! The one test program.

mod transcripts;
