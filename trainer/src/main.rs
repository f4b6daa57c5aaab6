//! `trainer`: flags → typed settings → one function of the library each.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
