//! What an administrator can do: every act once in [`ops`], and the command line and the console that call it.

pub mod cli;
pub mod ops;
mod tables;
pub mod web;
