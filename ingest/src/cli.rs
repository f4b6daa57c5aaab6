//! The commands of `ingest` and what each is given: what it works on by its place, what it makes by
//! `--out`. What can be set of a run is in [`ingest::settings::options`].

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use ingest::repair::Repair;
use ingest::report::Scope;
use ingest::settings::options::{All, OfRepair, OfStore};
use ingest::{Codebook, Settings};
use storage::{Address, Notice, StorageOptions};
use voice::options::Given;
use voice::terminal::{tell, visible};

/// Turn pictures into Parquet shards for masked image modeling
///
/// The pictures lie in folders (at any depth), tar and ZIP archives, Parquet files, WARC files, at
/// the addresses of a list (Parquet, CSV or JSON lines with a column of them), or in text files that
/// list any of these; all can be mixed, and each may be a local path or an s3://, gs://, az:// or
/// http(s):// address. Tar and WARC may be packed with gzip, zstd, xz or bzip2. A run that was
/// stopped goes on where it was with the same command, and gives the same bytes.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub ingest: IngestArgs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell what is in a shard set, and draw it
    Inspect(InspectArgs),
    /// Write a shard set's report as one HTML page: pictures, sizes, sources, classes, likeness,
    /// rejects
    Report(ReportArgs),
    /// Read every byte of a shard set against its checksums
    Verify(VerifyArgs),
    /// Make the damaged shards of a set again, as they were
    Repair(RepairArgs),
    /// Make a small collection of pictures, drawn procedurally, to try the programs with
    Sample(SampleArgs),
}

#[derive(Debug, Args)]
pub struct IngestArgs {
    /// Folders, archives, lists and pictures. What a file is, is told by its content. In folders,
    /// files named .tar, .zip, .parquet or .warc, and .tar.gz, .tgz, .warc.zst and the like, are
    /// looked into; all others are taken for pictures. A source named like a subcommand is given as
    /// ./inspect
    #[arg(required = true)]
    sources: Vec<Address>,
    /// Folder for the shards: a path, or s3://, gs://, az://
    #[arg(long, required = true)]
    out: Option<Address>,
    /// Add the sources to the finished set in --out, as a new version of it
    #[arg(long)]
    append: bool,
    #[command(flatten)]
    given: Given<All>,
}

/// The set that a command works on.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// Folder of shards: a path, or s3://, gs://, az://, http(s)://
    pub shards: Address,
    #[command(flatten)]
    store: Given<OfStore>,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    #[command(flatten)]
    pub set: SetArgs,
    /// PNG to write: the rows' views beside their HOG at every cell size [default: none is written]
    #[arg(long, alias = "preview")]
    pub out: Option<PathBuf>,
    /// Rows to show
    #[arg(long, default_value_t = 4)]
    pub rows: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct ReportArgs {
    #[command(flatten)]
    pub set: SetArgs,
    /// HTML page to write
    #[arg(long, default_value = "report.html")]
    pub out: PathBuf,
    /// Rows of which sizes, names, classes and hashes are read, at most; of more, those of whole
    /// shards spread evenly over the set
    #[arg(long, default_value_t = Scope::default().rows)]
    pub rows: u64,
    /// Views to draw
    #[arg(long, default_value_t = Scope::default().views)]
    pub views: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = Scope::default().seed)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    pub set: SetArgs,
}

#[derive(Debug, Args)]
pub struct RepairArgs {
    /// Folder of shards: a path, or s3://, gs://, az://
    shards: Address,
    /// Where copies of the sources lie, if they are no longer where they were: one for each, in the
    /// order in which they were given
    #[arg(long, num_args = 1..)]
    from: Vec<Address>,
    #[command(flatten)]
    given: Given<OfRepair>,
}

#[derive(Debug, Args)]
pub struct SampleArgs {
    /// New folder for the pictures
    #[arg(long, required = true, conflicts_with = "folder")]
    out: Option<PathBuf>,
    /// Whole pictures to make; some broken files come on top
    #[arg(long, default_value_t = 420)]
    pub pictures: usize,
    /// Seed of what is drawn
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// As it was given before there was --out
    #[arg(hide = true)]
    folder: Option<PathBuf>,
}

impl IngestArgs {
    /// What a run is asked to do; none where a subcommand is.
    pub fn settings(self) -> Option<Settings> {
        let Self { sources, out, append, given } = self;
        let settings = Settings { append, ..Settings::of(sources, out?) };
        Some(telling(settings.given(&given)))
    }
}

impl SetArgs {
    /// How the set is reached.
    pub fn storage(&self) -> StorageOptions {
        telling(self.store.over(Settings::of(vec![], self.shards.clone()))).storage
    }
}

impl RepairArgs {
    /// What to repair, and how the storage is reached.
    pub fn settings(self) -> (Repair, StorageOptions) {
        let Self { shards, from, given } = self;
        let settings = telling(given.over(Settings::of(vec![], shards)));
        let Settings { out, codebooks, web, threads, memory, storage, .. } = settings;
        let codebooks = Codebook::by_patch(codebooks);
        (Repair { out, from, codebooks, web, threads, memory }, storage)
    }
}

impl SampleArgs {
    /// The folder for the pictures.
    pub fn folder(&self) -> anyhow::Result<&Path> {
        self.out.as_deref().or(self.folder.as_deref()).context("--out is missing; see --help")
    }
}

/// Settings of a storage that says so where it waits.
fn telling(mut settings: Settings) -> Settings {
    settings.storage.notice = Some(Notice::new(|sentence| tell(visible(sentence))));
    settings
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn settings(flags: &[&str]) -> Result<Settings, clap::Error> {
        let all = ["ingest", "a", "--out", "b"].into_iter().chain(flags.iter().copied());
        Cli::try_parse_from(all).map(|cli| cli.ingest.settings().unwrap())
    }

    #[test]
    fn the_flags_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_that_are_left_out_set_what_a_run_without_flags_has() {
        let settings = settings(&[]).unwrap();
        let defaults = Settings::new("a", "b");
        assert_eq!(settings.ingest, defaults.ingest);
        assert_eq!((settings.memory, settings.web), (defaults.memory, defaults.web));
        assert_eq!((settings.sources, settings.out), (defaults.sources, defaults.out));
    }

    #[test]
    fn shards_have_as_many_pictures_as_they_are_given_or_as_fit() {
        assert_eq!(settings(&["--views", "4"]).unwrap().ingest.pictures_per_shard, 256);
        let both = settings(&["--views", "4", "--shard-pictures", "0"]).unwrap();
        assert_eq!(both.ingest.pictures_per_shard, 0);
        let error = both.check().unwrap_err().to_string();
        assert_eq!(error, "--shard-pictures: must be 1 to 1048576, not 0");
    }

    #[test]
    fn zstd_levels_lie_on_both_sides_of_0() {
        let level = |level| settings(&["--zstd-level", level]);
        for good in ["-50", "-5", "-1", "1", "22"] {
            let settings = level(good).unwrap();
            assert_eq!(settings.ingest.zstd_level.to_string(), good);
            settings.check().unwrap();
        }
        for wrong in ["-51", "0", "23"] {
            let error = level(wrong).unwrap().check().unwrap_err().to_string();
            assert!(error.contains("-50 to -1 or 1 to 22"), "{error}");
        }
        assert!(level("high").unwrap_err().to_string().contains("a whole number"));
    }

    #[test]
    fn old_spellings_are_understood_and_not_shown() {
        let sample = |args: &[&str]| {
            let all = ["ingest", "sample"].into_iter().chain(args.iter().copied());
            match Cli::try_parse_from(all).map(|cli| cli.command) {
                Ok(Some(Command::Sample(args))) => Ok(args.folder().unwrap().to_owned()),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error.to_string()),
            }
        };
        assert_eq!(sample(&["raw"]), Ok("raw".into()));
        assert_eq!(sample(&["--out", "raw"]), Ok("raw".into()));
        assert!(sample(&[]).unwrap_err().contains("--out"));
        assert!(sample(&["raw", "--out", "raw"]).is_err());
        for name in ["inspect", "sample"] {
            let mut command = Cli::command();
            let help = command.find_subcommand_mut(name).unwrap().render_long_help().to_string();
            assert!(!help.contains("--preview") && !help.contains("FOLDER"), "{help}");
        }
    }

    #[test]
    fn the_readme_knows_the_flags() {
        let readme = include_str!("../../README.md");
        let commands: Vec<_> = readme.lines().filter(|line| line.starts_with("ingest ")).collect();
        assert!(commands.len() > 5, "{commands:?}");
        for command in commands {
            let words = command.split(" #").next().unwrap().split_whitespace();
            Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{command}: {error}"));
        }
        let table = readme.split("### ingest").nth(1).unwrap().split("### trainer").next().unwrap();
        let command = Cli::command();
        let known: Vec<_> = command.get_arguments().filter_map(|arg| arg.get_long()).collect();
        let rows = table.lines().filter(|line| line.starts_with("| `--"));
        let first = rows.map(|row| row.split('|').nth(1).unwrap());
        let flags: Vec<_> = first
            .flat_map(|cell| cell.split(['`', ' ', ',']))
            .filter_map(|word| word.strip_prefix("--"))
            .collect();
        assert!(flags.len() > 20, "{flags:?}");
        for flag in flags {
            assert!(known.contains(&flag), "the README has --{flag}");
        }
    }
}
