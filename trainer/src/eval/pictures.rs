//! What `--shards` names → a shard set: a set as it is; pictures through `ingest` first.

use std::path::Path;

use ingest::source::{self, Request};
use schemas::{MANIFEST_FILE, ShardLayout};
use storage::{Address, Storage};

use super::EvalError;
use crate::data::{Dataset, ShardSource};
use crate::model::ModelConfig;
use crate::progress::Console;

/// Opens the shard set at `at`. Local pictures, in class folders or an archive, are ingested into
/// `cache` with one central view each, which is found there the next time.
///
/// # Errors
/// [`EvalError`] if there is neither, or its views are not what the network takes.
pub fn open(
    storage: &Storage,
    at: &Address,
    network: &ModelConfig,
    cache: &Path,
    console: &Console,
) -> Result<Dataset, EvalError> {
    let dataset = if holds_pictures(at) {
        let folder = ingest_pictures(storage, at, network, cache, console)?;
        Dataset::open(ShardSource::local(folder))?
    } else {
        Dataset::open(ShardSource::new(storage.clone(), at.clone(), None))?
    };
    let size = dataset.layout().size as usize;
    if size != network.size {
        return Err(EvalError::Size { at: at.to_string(), found: size, expected: network.size });
    }
    Ok(dataset)
}

/// Runs `ingest` with a bar, if the console is one that tells.
pub(crate) fn ingest_told(
    settings: &ingest::Settings,
    console: &Console,
) -> Result<ingest::Summary, ingest::IngestError> {
    if console.is_quiet() {
        ingest::run(settings, &ingest::Silent)
    } else {
        ingest::run(settings, &ingest::Bar::new())
    }
}

/// Whether a local address is no shard set, finished or not, but something for `ingest`.
fn holds_pictures(at: &Address) -> bool {
    at.local().is_some_and(|path| {
        path.is_file()
            || (path.is_dir()
                && ![MANIFEST_FILE, ".ingest"].iter().any(|name| path.join(name).exists()))
    })
}

fn ingest_pictures(
    storage: &Storage,
    at: &Address,
    network: &ModelConfig,
    cache: &Path,
    console: &Console,
) -> Result<Address, EvalError> {
    let listing = source::list(
        storage,
        &Request {
            sources: &[at.clone().into()],
            prefixed: false,
            out: &Address::from(cache),
            seed: 0,
            follow_links: true,
        },
    )?;
    let mut settings = ingest::Settings::new("", "");
    settings.sources = vec![at.clone()];
    settings.follow_links = true;
    // Targets are not looked at; one cell that fits is the least there can be.
    settings.ingest.layout = ShardLayout {
        size: network.size as u32,
        cells: vec![network.encoder.patch() as u32],
        ..settings.ingest.layout
    };
    settings.ingest.central = true;
    // Every picture that can be decoded counts.
    settings.ingest.keep_duplicates = true;
    settings.ingest.one_colour = 0;
    settings.ingest.min_side = 1;
    let of_settings = serde_json::to_vec(&settings.ingest).expect("settings are always JSON");
    let mut hasher = blake3::Hasher::new();
    hasher.update(listing.hash.as_bytes());
    hasher.update(at.to_string().as_bytes());
    hasher.update(&of_settings);
    let name = format!("pictures-{}", &hasher.finalize().to_hex()[..16]);
    let out = Address::from(cache.join(name));
    settings.out = out.clone();
    let summary = ingest_told(&settings, console)?;
    if summary.pictures > 0 {
        console.message(&format!(
            "{at}: {} pictures, one central view each, in {out}",
            summary.manifest.accepted
        ));
    }
    if summary.manifest.rejected > 0 {
        let rejects = out.join(&summary.part.rejects.file);
        console.message(&format!(
            "{at}: {} files are no usable pictures and are left out; {rejects} names them",
            summary.manifest.rejected
        ));
    }
    Ok(out)
}
