//! What `--shards` names → a shard set: a set as it is; pictures through `ingest` first.

use std::path::Path;

use archives::Limits;
use ingest::source::{self, Request};
use ingest::view::{self, Cutter};
use schemas::ShardLayout;
use shards::{ShardSet, ShardSource};
use storage::{Address, Storage};
use voice::terminal::counted;

use super::EncodeError;
use crate::model::ModelConfig;
use crate::progress::Console;

/// Views, as a user names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// A shard set; or local pictures, as [`open`] takes them.
    Shards(Address),
    /// Folders, archives, lists and pictures at any address, of which each picture gives one
    /// central view.
    Pictures(Vec<Address>),
}

impl Given {
    /// The addresses, for messages.
    pub fn named(&self) -> String {
        match self {
            Self::Shards(at) => at.to_string(),
            Self::Pictures(all) => {
                let all: Vec<_> = all.iter().map(ToString::to_string).collect();
                all.join(", ")
            }
        }
    }

    /// Opens the set, which pictures are made into in `cache` the first time.
    ///
    /// # Errors
    /// [`EncodeError`] if there is neither, or its views are not what the network takes.
    pub fn open(
        &self,
        storage: &Storage,
        network: &ModelConfig,
        cache: &Path,
        console: &Console,
    ) -> Result<ShardSet, EncodeError> {
        match self {
            Self::Shards(at) => open(storage, at, network, cache, console),
            Self::Pictures(all) => {
                let local = |at: &&Address| at.local().is_some_and(|path| path.is_dir());
                if let Some(set) = all.iter().filter(local).find(|at| !holds_pictures(at)) {
                    return Err(EncodeError::IsSet(set.to_string()));
                }
                let folder = ingest_pictures(storage, all, network, cache, console)?;
                Ok(ShardSet::open_whole(ShardSource::local(folder))?)
            }
        }
    }
}

/// Opens the shard set at `at`. Local pictures, in class folders or an archive, are ingested into
/// `cache` with one central view each, which is found there the next time.
///
/// # Errors
/// [`EncodeError`] if there is neither, or its views are not what the network takes.
pub fn open(
    storage: &Storage,
    at: &Address,
    network: &ModelConfig,
    cache: &Path,
    console: &Console,
) -> Result<ShardSet, EncodeError> {
    let dataset = if holds_pictures(at) {
        let folder = ingest_pictures(storage, std::slice::from_ref(at), network, cache, console)?;
        ShardSet::open_whole(ShardSource::local(folder))?
    } else {
        ShardSet::open_whole(ShardSource::new(storage.clone(), at.clone(), None))?
    };
    let size = dataset.layout().size as usize;
    if size != network.size {
        return Err(EncodeError::Size { at: at.to_string(), found: size, expected: network.size });
    }
    Ok(dataset)
}

/// The central view of a picture's file as a network takes it, size·size·3 bytes, and BLAKE3 of
/// the file.
///
/// # Errors
/// [`EncodeError::Picture`] if it is none that can be read.
pub fn view_of(path: &Path, network: &ModelConfig) -> Result<(Vec<u8>, [u8; 32]), EncodeError> {
    let fault = |reason: String| EncodeError::Picture { path: path.to_owned(), reason };
    let ingest = central(network).ingest;
    let picture = ingest::decode::read(path, &ingest).map_err(|found| fault(found.message))?;
    let crop = view::crop(&ingest, &picture.content_hash, 0, picture.size());
    let view = Cutter::new(ingest.layout.size).cut(&picture.rgb, crop)?;
    Ok((view, picture.content_hash))
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
    at.local().is_some_and(|path| path.is_file() || (path.is_dir() && !shards::set::is_set(path)))
}

/// Settings of a run that makes one central view of every picture that can be decoded.
fn central(network: &ModelConfig) -> ingest::Settings {
    let mut settings = ingest::Settings::new("", "");
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
    settings
}

fn ingest_pictures(
    storage: &Storage,
    all: &[Address],
    network: &ModelConfig,
    cache: &Path,
    console: &Console,
) -> Result<Address, EncodeError> {
    let sources: Vec<_> = all.iter().map(|at| at.clone().into()).collect();
    let listing = source::list(
        storage,
        &Request {
            sources: &sources,
            prefixed: sources.len() > 1,
            out: &Address::from(cache),
            seed: 0,
            follow_links: true,
            limits: &Limits::default(),
            private_addresses: false,
        },
    )?;
    let mut settings = central(network);
    settings.sources = all.to_vec();
    settings.storage = storage.options().clone();
    let of_settings = serde_json::to_vec(&settings.ingest).expect("settings are always JSON");
    let mut hasher = blake3::Hasher::new();
    hasher.update(listing.hash.as_bytes());
    let named = all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    hasher.update(named.as_bytes());
    hasher.update(&of_settings);
    let name = format!("pictures-{}", &hasher.finalize().to_hex()[..16]);
    let out = Address::from(cache.join(name));
    settings.out = out.clone();
    let summary = ingest_told(&settings, console)?;
    let at = named.replace('\n', ", ");
    if summary.pictures > 0 {
        console.message(&format!(
            "{at}: {}, one central view each, in {out}",
            counted(summary.manifest.accepted, "picture")
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
