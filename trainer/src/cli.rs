//! The command line of `trainer`: what a command works on has its place, what it makes is `--out`.

mod analyze;
mod common;
mod compare;
mod eval;
mod experiment;
mod files;
mod neighbours;
mod ranks;
mod stop;
mod train;

use std::io::{Write, stdout};
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use trainer::settings::Recipe;
use voice::terminal::{self, tell};

/// Pre-train an encoder on a folder of shards that `ingest` made
///
/// `trainer --shards shards/` trains with the recipe's defaults; every other flag changes one of
/// them. What a flag and the recipe both leave open is chosen for the device and said in a line.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    override_usage = "trainer --shards <SHARDS> [OPTIONS]\n       trainer <COMMAND>"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    train: train::TrainArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a run's encoder as safetensors with timm's names
    Export(files::ExportArgs),
    /// Take published weights (LocalMIM's, MAE's, SimMIM's, GreenMIM's, MaskFeat's, timm's) into a
    /// run's folder, for export and evaluation
    Import(Box<files::ImportArgs>),
    /// Write a run's report as one HTML page: losses, reconstructions, what was learned, rejects
    Report(files::ReportArgs),
    /// Judge a run's encoder by how well its features tell classes
    #[command(subcommand)]
    Eval(eval::EvalCommand),
    /// Write what a run's encoder makes of pictures as a Parquet file: key, label, embedding
    Embed(neighbours::EmbedArgs),
    /// Show which pictures a run's encoder takes for alike, on one HTML page
    Neighbours(neighbours::NeighboursArgs),
    /// Look into a run's encoder: where its attention goes
    #[command(subcommand)]
    Analyze(analyze::AnalyzeCommand),
    /// Set runs beside each other on one HTML page: loss and accuracy over steps and time
    Compare(compare::CompareArgs),
    /// Train every recipe equally long on the same pictures, judge the encoders, report
    Experiment(experiment::ExperimentArgs),
    /// Make a small picture collection, ingest it, train on it, and write a report
    Quickstart(files::QuickstartArgs),
    /// Print a recipe as a TOML file to copy and change for --config
    Recipe {
        /// The method
        #[arg(value_enum)]
        name: Recipe,
    },
}

/// Runs the program; errors are a sentence on standard error, panics too.
pub fn main() -> ExitCode {
    let cli: Cli = terminal::flags();
    // What a library below panics with is of no use to a user without the place; keep both, and
    // leave the backtrace to RUST_BACKTRACE.
    let result = panic::catch_unwind(AssertUnwindSafe(|| dispatch(cli)));
    match result {
        Ok(Ok(code)) => code,
        // Whoever reads the output has closed it, as `head` does: there is nobody to tell.
        Ok(Err(error)) if error.chain().any(terminal::reader_gone) => {
            ExitCode::from(terminal::READER_GONE)
        }
        Ok(Err(error)) => {
            tell(format_args!("error: {}", terminal::with_causes(error.chain())));
            ExitCode::FAILURE
        }
        Err(_) => {
            tell(
                "error: an internal fault, described above, stopped the program; checkpoints \
                 already written are whole, and --resume goes on from the newest",
            );
            ExitCode::FAILURE
        }
    }
}

fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Export(args)) => files::export(args),
        Some(Command::Import(args)) => files::import(*args),
        Some(Command::Report(args)) => files::report(args),
        Some(Command::Eval(command)) => eval::run(command),
        Some(Command::Embed(args)) => neighbours::embed(args),
        Some(Command::Neighbours(args)) => neighbours::neighbours(args),
        Some(Command::Analyze(command)) => analyze::run(command),
        Some(Command::Compare(args)) => compare::run(&args),
        Some(Command::Experiment(args)) => experiment::run(args),
        Some(Command::Quickstart(args)) => files::quickstart(args),
        Some(Command::Recipe { name }) => {
            stdout().write_all(name.text().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        None => train::run(cli.train),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn understood(line: &str) -> Result<Cli, String> {
        let words = line.split_whitespace();
        Cli::try_parse_from(words).map_err(|error| format!("{line}: {error}"))
    }

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_run_is_given_in_the_same_way_to_every_command_and_in_the_old_one_too() {
        for (command, rest) in [
            ("export", ""),
            ("embed", "--pictures ./photos"),
            ("neighbours", "--shards s"),
            ("analyze nmi", "--shards s"),
            ("analyze attention", "--shards s"),
            ("eval knn", "--shards s"),
            ("eval linear", "--shards s"),
            ("eval finetune", "--shards s"),
        ] {
            understood(&format!("trainer {command} runs/a {rest}")).unwrap();
            understood(&format!("trainer {command} {rest} --checkpoint runs/a")).unwrap();
            let error = understood(&format!("trainer {command} {rest}")).unwrap_err();
            assert!(error.contains("<RUN>"), "{error}");
            let both = format!("trainer {command} runs/a {rest} --checkpoint runs/b");
            assert!(understood(&both).is_err());
        }
        understood("trainer eval knn --checkpoint runs/a runs/b --shards s").unwrap();
        understood("trainer eval knn runs/a runs/b --shards s").unwrap();
        understood("trainer experiment ./train --test-pictures ./test").unwrap();
        understood("trainer experiment --pictures ./train").unwrap();
        assert!(understood("trainer experiment").unwrap_err().contains("<PICTURES>"));
    }

    #[test]
    fn the_readme_knows_the_flags() {
        let readme = include_str!("../../README.md");
        let docs = include_str!("../../docs/EXPERIMENT.md");
        let lines = readme.lines().chain(docs.lines());
        let commands: Vec<_> = lines.filter(|line| line.starts_with("trainer ")).collect();
        assert!(commands.len() > 10, "{commands:?}");
        for command in commands {
            understood(command.split(" #").next().unwrap()).unwrap();
        }
        let table = readme.split("### trainer").nth(1).unwrap().split("###").next().unwrap();
        let command = Cli::command();
        let known: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let rows = table.lines().filter(|line| line.starts_with("| `--"));
        let first = rows.map(|row| row.split('|').nth(1).unwrap());
        let flags: Vec<_> = first
            .flat_map(|cell| cell.split(['`', ' ', ',']))
            .filter_map(|word| word.strip_prefix("--"))
            .collect();
        assert!(flags.len() > 15, "{flags:?}");
        for flag in flags {
            assert!(known.contains(&flag), "the README has --{flag}");
        }
    }
}
