//! The command that trains.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use shards::{Cache, ShardSource};
use storage::Address;
use trainer::checkpoint::CheckpointFolder;
use trainer::device::DeviceKind;
use trainer::export;
use trainer::progress::Console;
use trainer::ranks::RanksError;
use trainer::settings::table::Choices;
use trainer::settings::{Options, SETTINGS_FILE, Settings};
use trainer::train::TrainRequest;
use trainer::train::run::{Resume, RunPaths, TrainError, Trained};
use voice::options::Given;
use voice::terminal::{self, tell};

use super::common::{DeviceArgs, StoreArgs};
use super::ranks::RanksArgs;
use super::stop::stop_flag;

#[derive(Debug, Args)]
pub struct TrainArgs {
    /// Folder of shards: a path, or s3://, gs://, az://, http(s)://
    #[arg(long)]
    shards: Option<Address>,
    /// Folder of the run: settings, metrics, checkpoints [default: runs/RECIPE-MODEL]
    #[arg(long)]
    out: Option<PathBuf>,
    /// TOML file of settings; flags win over it
    #[arg(long)]
    config: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
    /// Go on from the newest checkpoint of --out, or from this file
    #[arg(long, num_args = 0..=1, value_name = "CHECKPOINT")]
    resume: Option<Option<PathBuf>>,
    #[command(flatten)]
    store: StoreArgs,
    /// Local folder that keeps what was read of remote shards [default: nothing is kept]
    #[arg(long, help_heading = "Data")]
    cache_dir: Option<PathBuf>,
    /// Most bytes that --cache-dir may hold, as in 500GB; the longest unused go first
    #[arg(long, help_heading = "Data", default_value = "100GB", value_parser = voice::terminal::bytes)]
    cache_size: u64,
    #[command(flatten)]
    ranks: RanksArgs,
    #[command(flatten)]
    given: Given<Choices>,
}

/// Trains; says on standard output where it stopped and what it saved.
pub fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    let shards = args.shards.clone().context("--shards names the folder of shards; see --help")?;
    let cache = args.cache_dir.as_ref().map(|folder| Cache::open(folder, args.cache_size));
    let cache = cache.transpose().context("--cache-dir")?;
    let shards = ShardSource::new(args.store.storage()?, shards, cache);
    let place = args.ranks.place(args.device)?;
    let process = place.world.process;
    let device = *place.devices.first().context("--devices names a device")?;
    let Begin { settings, out, resume } = begin(&args, device)?;
    let paths = RunPaths { shards, out };
    let console = if process == 0 { Console::new() } else { Console::quiet() };
    let stop = stop_flag()?;
    let request =
        TrainRequest { paths: &paths, settings: &settings, resume, console: &console, stop };
    let outcome = match request.at(place) {
        Err(stopped @ TrainError::Ranks(RanksError::Stopped)) => {
            tell(stopped);
            return Ok(ExitCode::from(terminal::INTERRUPTED));
        }
        outcome => outcome?,
    };
    let Trained { step, checkpoint, interrupted } = outcome;
    if process > 0 {
        tell(format_args!("process {process}: ended after step {step}, with all others"));
    } else if interrupted {
        writeln!(
            stdout(),
            "stopped after step {step}; saved {}; --resume goes on",
            checkpoint.display()
        )?;
    } else {
        writeln!(stdout(), "finished after step {step}; saved {}", checkpoint.display())?;
    }
    Ok(if interrupted { ExitCode::from(terminal::INTERRUPTED) } else { ExitCode::SUCCESS })
}

/// How a run begins.
struct Begin {
    settings: Settings,
    out: PathBuf,
    resume: Option<Resume>,
}

/// Flags, files and what is in the run's folder → how the run begins.
fn begin(args: &TrainArgs, device: DeviceKind) -> anyhow::Result<Begin> {
    let from_file = match &args.config {
        Some(path) => Options::read(path)?,
        None => Options::default(),
    };
    let mut options = args.given.over(Options::default()).over(from_file);
    let named = args.resume.as_ref().and_then(Option::as_ref);
    let out_of = |settings: &Settings| {
        let name = format!("{}-{}", settings.recipe.name(), settings.model.name());
        PathBuf::from("runs").join(name)
    };

    // Where a run is taken up again, its own settings stand below the flags.
    let mut resume = None;
    if let Some(path) = named {
        let (path, checkpoint) = export::find_checkpoint(path, &Console::new())?;
        resume = Some(Resume { path, checkpoint });
    } else if args.resume.is_some() {
        let out = match &args.out {
            Some(out) => out.clone(),
            None => out_of(&Settings::resolve(options.clone(), device)?),
        };
        match CheckpointFolder::of_run(&out).newest_told(&Console::new())? {
            Some((path, checkpoint)) => resume = Some(Resume { path, checkpoint }),
            None => options = begin_anew(options, &out)?,
        }
    }
    if let Some(Resume { path, checkpoint }) = &resume {
        let saved = &checkpoint.header.settings;
        tell(format_args!("resumes {} (step {})", path.display(), checkpoint.header.step));
        options = options.over(Options { max_steps: None, ..saved.to_options() });
    }

    let open_model = options.model.is_none();
    let settings = Settings::resolve(options, device)?;
    if open_model {
        let (model, on) = (settings.model.name(), device.name());
        tell(format_args!("model: {model}, the default on {on}; --model chooses another"));
    }
    let out = args.out.clone().unwrap_or_else(|| out_of(&settings));
    Ok(Begin { settings, out, resume })
}

/// The choices of a run that is taken up before its first checkpoint: those given, over its own if
/// it left any.
fn begin_anew(options: Options, out: &Path) -> anyhow::Result<Options> {
    let file = out.join(SETTINGS_FILE);
    let out = out.display();
    if !file.exists() {
        tell(format_args!("{out} holds no checkpoint yet: a new run begins"));
        return Ok(options);
    }
    let own = Options { max_steps: None, ..Options::read(&file)? };
    tell(format_args!(
        "{out} holds no checkpoint yet: the run begins anew, with the settings of its settings.toml"
    ));
    Ok(options.over(own))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn parse(flags: &[&str]) -> Result<TrainArgs, clap::Error> {
        let all = ["trainer", "--shards", "s"].into_iter().chain(flags.iter().copied());
        Cli::try_parse_from(all).map(|cli| cli.train)
    }

    fn resume(flags: &[&str]) -> Option<Option<PathBuf>> {
        parse(flags).unwrap().resume
    }

    fn settings(flags: &[&str]) -> Settings {
        begin(&parse(flags).unwrap(), DeviceKind::Cpu).unwrap().settings
    }

    #[test]
    fn a_run_is_resumed_from_its_newest_checkpoint_or_from_a_file() {
        assert_eq!(resume(&[]), None);
        assert_eq!(resume(&["--resume"]), Some(None));
        assert_eq!(resume(&["--resume", "--max-steps", "3"]), Some(None));
        assert_eq!(resume(&["--resume", "file"]), Some(Some("file".into())));
    }

    #[test]
    fn a_run_without_a_checkpoint_begins_anew_with_its_own_settings() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().to_str().unwrap();
        let defaults = settings(&["--out", out]);
        let own = Settings { batch_size: 7, lr: 0.5, max_steps: Some(3), ..defaults.clone() };
        let flags = ["--out", out, "--resume", "--lr", "0.25"];
        assert_eq!(settings(&flags), Settings { lr: 0.25, ..defaults });
        let text = toml::to_string(&own).unwrap();
        std::fs::write(folder.path().join(SETTINGS_FILE), text).unwrap();
        assert_eq!(settings(&flags), Settings { lr: 0.25, max_steps: None, ..own });
    }

    #[test]
    fn the_length_that_a_flag_gives_wins_over_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("mine.toml");
        std::fs::write(&file, "epochs = 8\nsteps = 9").unwrap();
        let of = |flags: &[&str]| {
            let settings = settings(&[&["--config", file.to_str().unwrap()], flags].concat());
            (settings.epochs, settings.steps)
        };
        assert_eq!(of(&[]), (8, Some(9)));
        assert_eq!(of(&["--epochs", "2"]), (2, None));
        assert_eq!(of(&["--steps", "3"]), (8, Some(3)));
        let error = parse(&["--epochs", "2", "--steps", "3"]).unwrap_err().to_string();
        assert!(error.contains("--epochs") && error.contains("--steps"), "{error}");
    }
}
