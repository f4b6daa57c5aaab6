//! The command that sets runs beside each other.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use trainer::compare;

#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Runs' folders
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// HTML page to write
    #[arg(long, default_value = "compare.html")]
    out: PathBuf,
    /// Accuracy to which the time is told [0 to 1] [default: for each kind of evaluation the highest
    /// that every run reached]
    #[arg(long)]
    accuracy: Option<f64>,
}

/// Writes the page, and the table on standard output.
pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let comparison = compare::write(&args.runs, &args.out, args.accuracy)?;
    writeln!(stdout(), "{}{}", comparison.text(), args.out.display())?;
    Ok(ExitCode::SUCCESS)
}
