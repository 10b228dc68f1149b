//! What the benchmarks share: the ground they stand on, the processes they measure, the clients they measure with.

// Each benchmark is a program of its own and uses a part of this.
#![allow(dead_code, missing_docs)]

pub mod client;
pub mod content;
pub mod forwarder;
pub mod ground;
pub mod process;
pub mod report;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

/// Runs a benchmark, or the forwarder that it starts as a process of its own. Without `--bench`, which only `cargo bench` says, it
/// does nothing: a benchmark is no test.
pub fn main<O: Parser>(run: impl AsyncFnOnce(O) -> Result<bool>) -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let done = if words.get(1).is_some_and(|word| word == forwarder::WORD) {
        forwarder::run(words.get(2..).unwrap_or_default()).map(|()| true)
    } else if words.iter().any(|word| word == "--bench") {
        let options = O::parse_from(words.into_iter().filter(|word| word != "--bench"));
        raise_open_files().and_then(|()| runtime()?.block_on(run(options)))
    } else {
        println!("nothing measured: run it with `cargo bench`");
        Ok(true)
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The same threads for everybody: as many as there are processors.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no threads can be started")
}

/// Clients and far side live in this process, so it needs as many files as both.
#[cfg(unix)]
fn raise_open_files() -> Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("the limit on open files cannot be raised")
}

#[cfg(not(unix))]
fn raise_open_files() -> Result<()> {
    anyhow::bail!("what processes cost is read from /proc, so the benchmarks run on Linux only")
}
