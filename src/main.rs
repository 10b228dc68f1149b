//! The program: arguments to `admin::cli`, its result to an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    postern::admin::cli::main()
}
