//! The command line of `ingest`: flags → settings → the library → what it did, in words.

mod cli;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use ingest::repair::repair;
use ingest::report::{self, Scope};
use ingest::{IngestError, Progress, Settings, Summary, inspect, sample};
use shards::verify::{self, Damage, What};
use shards::{ShardSet, ShardSource};
use storage::{Address, Storage};
use voice::terminal::counted;
use voice::{Bar, draw, terminal};

use cli::{Cli, Command, InspectArgs, RepairArgs, ReportArgs, SampleArgs, VerifyArgs};

fn main() -> ExitCode {
    match work(terminal::flags::<Cli>()) {
        Ok(code) => code,
        // Whoever reads the output has closed it, as `head` does: there is nobody to tell.
        Err(error) if error.chain().any(terminal::reader_gone) => {
            ExitCode::from(terminal::READER_GONE)
        }
        Err(error) => {
            terminal::tell(format_args!("error: {}", terminal::with_causes(error.chain())));
            ExitCode::FAILURE
        }
    }
}

fn work(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Some(Command::Inspect(args)) => inspect_set(args)?,
        Some(Command::Report(args)) => report_set(args)?,
        Some(Command::Verify(args)) => return verify_set(args),
        Some(Command::Repair(args)) => return repair_set(args),
        Some(Command::Sample(args)) => make_sample(&args)?,
        None => ingest_pictures(cli.ingest.settings().context("--out is missing; see --help")?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn ingest_pictures(settings: Settings) -> anyhow::Result<()> {
    end_on_interrupt("the finished shards are kept, and the same command goes on from there")?;
    let bar = Bar::new();
    let result = ingest::run(&settings, &bar);
    drop(bar);
    match &result {
        Ok(summary) => tell(&settings, summary)?,
        Err(IngestError::NothingAccepted { rejected, .. }) => {
            writeln!(std::io::stdout(), "0 accepted, {rejected} rejected")?;
        }
        Err(_) => {}
    }
    result?;
    Ok(())
}

/// The closing summary; its last line is for programs too.
fn tell(settings: &Settings, summary: &Summary) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let Summary { manifest, part, .. } = summary;
    let folder = &settings.out;
    if summary.pictures == 0 {
        writeln!(out, "{folder} was finished already; nothing to do")?;
    }
    writeln!(
        out,
        "{} in {}, {}, in {folder} (version {})",
        counted(manifest.rows, "row"),
        counted(manifest.shards.len() as u64, "shard"),
        terminal::size(manifest.bytes),
        manifest.version
    )?;
    if summary.pictures > 0 {
        let seconds = summary.time.as_secs_f64();
        let rate = terminal::rate(summary.pictures as f64 / seconds);
        let pictures = counted(summary.pictures, "picture");
        writeln!(out, "{pictures} in {seconds:.1} s, {rate}/s")?;
    }
    writeln!(out, "filters: {}", inspect::filters(&manifest.settings).join(", "))?;
    for (reason, count) in &summary.rejects {
        writeln!(out, "  {count:>6} rejected: {}", reason.code())?;
    }
    if !summary.rejects.is_empty() {
        writeln!(out, "  each is named in {}", folder.join(&part.rejects.file))?;
    }
    if part.cut_short > 0 {
        writeln!(out, "  {:>6} kept though cut short (--strict rejects them)", part.cut_short)?;
    }
    let labelled: u64 = manifest.class_pictures.iter().sum();
    if labelled > 0 && labelled < manifest.accepted {
        let unlabelled = manifest.accepted - labelled;
        writeln!(
            out,
            "  {unlabelled:>6} of the set have no class, beside {labelled} that have one"
        )?;
    }
    if summary.beside > 0 {
        writeln!(
            out,
            "  {:>6} files that tell of the picture beside them (.json, .cls, .txt, …)",
            summary.beside
        )?;
    }
    if summary.metadata > 0 {
        writeln!(out, "  {:>6} files of metadata beside shards passed over", summary.metadata)?;
    }
    if !summary.passed.is_empty() {
        writeln!(
            out,
            "  {:>6} responses that are no pictures passed over: {}",
            summary.passed.total(),
            summary.passed
        )?;
    }
    if !summary.not_tried.is_empty() {
        let all: u64 = summary.not_tried.values().sum();
        let by_reason: Vec<_> =
            summary.not_tried.iter().map(|(code, entries)| format!("{code} {entries}")).collect();
        writeln!(
            out,
            "  {all:>6} entries of lists of rejects not tried anew ({})",
            by_reason.join(", ")
        )?;
    }
    if summary.hidden > 0 {
        writeln!(out, "  {:>6} hidden files or folders passed over", summary.hidden)?;
    }
    if summary.irregular > 0 {
        writeln!(
            out,
            "  {:>6} symbolic links or special files passed over (--follow-links)",
            summary.irregular
        )?;
    }
    writeln!(out, "{} accepted, {} rejected", part.accepted, part.rejected.values().sum::<u64>())
}

fn inspect_set(args: InspectArgs) -> anyhow::Result<()> {
    if let Some(path) = args.out.as_ref().filter(|path| shards::set::is_of_a_set(path)) {
        return Err(IngestError::OverSet(path.clone())).context("--out");
    }
    let storage = Storage::new(args.set.storage())?;
    let set = ShardSet::open(ShardSource::new(storage, args.set.shards, None))?;
    let rows = inspect::sample(&set, args.rows, args.seed)?;
    // Shards whose list of rejects is damaged can be looked at all the same.
    let rejects = set.rejects();
    let text = inspect::describe(set.manifest(), rejects.as_deref().unwrap_or_default(), &rows);
    write!(std::io::stdout(), "{text}")?;
    if let Some(path) = &args.out {
        let sheet: draw::Canvas = inspect::preview(set.manifest(), &rows);
        let png = sheet.png().context("--out: there is nothing to draw (see --rows)")?;
        storage::write_file(path, png)
            .with_context(|| format!("can't write {}", path.display()))?;
        writeln!(std::io::stdout(), "\npreview in {}", path.display())?;
    }
    rejects?;
    Ok(())
}

fn report_set(args: ReportArgs) -> anyhow::Result<()> {
    let ReportArgs { set, out, rows, views, seed } = args;
    if shards::set::is_of_a_set(&out) {
        return Err(IngestError::OverSet(out)).context("--out");
    }
    let storage = Storage::new(set.storage())?;
    let set = ShardSet::open(ShardSource::new(storage, set.shards, None))?;
    let page = report::page(&set, Scope { rows, views, seed })?;
    Storage::local().put(&Address::from(out.as_path()), page.into_bytes())?;
    writeln!(std::io::stdout(), "{}", out.display())?;
    Ok(())
}

fn verify_set(args: VerifyArgs) -> anyhow::Result<ExitCode> {
    let VerifyArgs { set: given } = args;
    let storage = Storage::new(given.storage())?;
    let set = ShardSet::open(ShardSource::new(storage.clone(), given.shards.clone(), None))?;
    let manifest = set.manifest();
    let bar = Bar::of_bytes();
    bar.begin(verify::bytes(manifest), 0);
    let damages = verify::verify(&storage, &given.shards, manifest, &|bytes| bar.read(bytes))?;
    drop(bar);
    let mut out = std::io::stdout().lock();
    for damage in &damages {
        writeln!(out, "{}", terminal::name(&damage.to_string()))?;
    }
    let shards = counted(manifest.shards.len() as u64, "shard");
    let size = terminal::size(manifest.bytes);
    if damages.is_empty() {
        writeln!(out, "{shards}, {size}: all as written")?;
        return Ok(ExitCode::SUCCESS);
    }
    let of_later = |damage: &&Damage| matches!(damage.what, What::Beyond { .. });
    let later = damages.iter().filter(of_later).count();
    let damaged = damages.len() - later;
    if damaged > 0 {
        writeln!(
            out,
            "{} damaged or missing, of {shards}, {size}; `ingest repair {}` makes them again",
            counted(damaged as u64, "file"),
            given.shards
        )?;
    }
    if later > 0 {
        writeln!(
            out,
            "{} of later versions, whose manifest is lost; `ingest repair {}` says what can be done",
            counted(later as u64, "file"),
            given.shards
        )?;
    }
    Ok(ExitCode::FAILURE)
}

fn repair_set(args: RepairArgs) -> anyhow::Result<ExitCode> {
    let (settings, options) = args.settings();
    end_on_interrupt("what is repaired stays so, and the same command goes on with the rest")?;
    let bar = Bar::new();
    let repaired = repair(&Storage::new(options)?, &settings, &bar)?;
    drop(bar);
    let mut out = std::io::stdout().lock();
    if repaired.manifest {
        writeln!(out, "manifest.json: brought back from its newest numbered copy")?;
    }
    for shard in &repaired.shards {
        writeln!(out, "{shard}: made again, byte for byte")?;
    }
    for file in &repaired.files {
        writeln!(out, "{file}: made again")?;
    }
    writeln!(out, "all of {} is as it was written", settings.out)?;
    Ok(ExitCode::SUCCESS)
}

/// Ends the program with a line that says what is kept when it is interrupted. Files appear whole or
/// not at all, so that it may end at any moment.
fn end_on_interrupt(kept: &'static str) -> anyhow::Result<()> {
    ctrlc::set_handler(move || {
        // Below the progress bar.
        terminal::tell(format_args!("\nstopped; {kept}"));
        std::process::exit(terminal::INTERRUPTED.into());
    })
    .context("Ctrl-C can't be caught")
}

fn make_sample(args: &SampleArgs) -> anyhow::Result<()> {
    let folder = args.folder()?;
    let made = sample::write(folder, args.pictures, args.seed)?;
    writeln!(
        std::io::stdout(),
        "{} pictures and {} broken files in {}",
        made.pictures,
        made.broken,
        folder.display()
    )?;
    Ok(())
}
