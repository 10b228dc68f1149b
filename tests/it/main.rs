//! The one test program.

mod cli;
