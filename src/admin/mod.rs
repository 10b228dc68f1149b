//! What an administrator can do: every act once in [`ops`], and the command line that calls it.

pub mod cli;
pub mod ops;
mod tables;
