//! What a run keeps in its output folder until it is finished, so that the next can go on.
//!
//! ```text
//! shards/shard-00000.parquet     finished
//! shards/.shard-00001.parquet.tmp  being written
//! shards/.ingest/lock            held while a run is at work
//! shards/.ingest/plan.json       the settings and the listing's hash
//! shards/.ingest/shard-00000.json  what became of shard 0's pictures
//! shards/rejects.jsonl, shards/manifest.json  last, in this order; then .ingest goes
//! ```

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use schemas::{IngestSettings, MANIFEST_FILE, Manifest, Reject, ShardEntry};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::shard::temporary;
use crate::{CREATED_BY, IngestError};

const FOLDER: &str = ".ingest";

/// What decides the bytes of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub created_by: String,
    pub settings: IngestSettings,
    /// The listing's hash in hexadecimal.
    pub listing: String,
    /// Files in the listing.
    pub pictures: u64,
}

impl Plan {
    /// A sentence for each thing in which the plan of an earlier run differs from this one.
    pub fn differences(&self, earlier: &Self) -> Vec<String> {
        let values = |settings: &IngestSettings| {
            [
                ("--size", settings.layout.size.to_string()),
                ("--cells", format!("{:?}", settings.layout.cells)),
                ("--bins", settings.layout.bins.to_string()),
                ("--views", settings.views.to_string()),
                ("--seed", settings.seed.to_string()),
                ("--strict", settings.strict.to_string()),
                ("--min-decoded", settings.min_decoded.to_string()),
                ("--min-side", settings.min_side.to_string()),
                ("--max-pixels", settings.max_pixels.to_string()),
                ("--max-aspect", settings.max_aspect.to_string()),
                ("--one-colour", settings.one_colour.to_string()),
                ("--background", hex(settings.background)),
                ("--scaled-decode", settings.scaled_decode.to_string()),
                ("--shard-pictures", settings.pictures_per_shard.to_string()),
                ("--rows-per-group", settings.rows_per_group.to_string()),
                ("--zstd-level", settings.zstd_level.to_string()),
            ]
        };
        let mut differences: Vec<_> = values(&earlier.settings)
            .into_iter()
            .zip(values(&self.settings))
            .filter(|(then, now)| then != now)
            .map(|((flag, then), (_, now))| {
                format!("{flag} was {then} in the earlier run, is {now} now")
            })
            .collect();
        if earlier.created_by != self.created_by {
            differences.push(format!(
                "it was made by {}, this is {}",
                earlier.created_by, self.created_by
            ));
        }
        // The listing's order depends on the seed, so that it says something only with the same.
        if earlier.settings.seed == self.settings.seed && earlier.listing != self.listing {
            differences.push(format!(
                "the files under the root are others: {} in the earlier run, {} now (compared by name and size)",
                earlier.pictures, self.pictures
            ));
        }
        differences
    }
}

fn hex(colour: [u8; 3]) -> String {
    colour.iter().map(|value| format!("{value:02x}")).collect()
}

/// What became of one shard's pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ShardState {
    /// The file; none if every picture was rejected.
    pub entry: Option<ShardEntry>,
    pub accepted: u64,
    pub cut_short: u64,
    pub labels: BTreeSet<String>,
    pub rejects: Vec<Reject>,
}

/// What an output folder holds.
pub(crate) enum Found {
    /// A finished set of the same plan.
    Finished(Box<Manifest>),
    /// Nothing, or the beginnings of the same plan; locked for this run.
    Open(Work),
}

/// The state folder of an unfinished set, locked.
pub(crate) struct Work {
    out: PathBuf,
    folder: PathBuf,
    lock: File,
}

/// Looks at an output folder and takes hold of it.
pub(crate) fn open(out: &Path, plan: &Plan) -> Result<Found, IngestError> {
    let manifest_path = out.join(MANIFEST_FILE);
    let folder = out.join(FOLDER);
    if manifest_path.exists() {
        let manifest = read_manifest(out)?;
        let earlier = Plan {
            created_by: manifest.created_by.clone(),
            settings: manifest.settings.clone(),
            listing: manifest.listing.clone(),
            pictures: manifest.accepted + manifest.rejected,
        };
        same(out, plan, &earlier)?;
        for shard in &manifest.shards {
            let path = out.join(&shard.file);
            let size = fs::metadata(&path).map_err(IngestError::io("find", &path))?.len();
            if size != shard.bytes {
                let problem = format!("{size} bytes, but the manifest has {}", shard.bytes);
                return Err(IngestError::Damaged { path, problem });
            }
        }
        // A run that ended between its last two steps leaves it behind.
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(IngestError::io("remove", &folder))?;
        }
        return Ok(Found::Finished(Box::new(manifest)));
    }

    let plan_path = folder.join("plan.json");
    if !plan_path.exists() {
        refuse_foreign(out)?;
    }
    fs::create_dir_all(&folder).map_err(IngestError::io("create the folder", &folder))?;
    let lock_path = folder.join("lock");
    let lock = File::create(&lock_path).map_err(IngestError::io("create", &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(IngestError::Locked(out.to_owned())),
        Err(TryLockError::Error(error)) => {
            return Err(IngestError::io("lock", &lock_path)(error));
        }
    }
    match read_json(&plan_path)? {
        Some(earlier) => same(out, plan, &earlier)?,
        None => write_json(&plan_path, plan)?,
    }
    Ok(Found::Open(Work { out: out.to_owned(), folder, lock }))
}

fn same(out: &Path, plan: &Plan, earlier: &Plan) -> Result<(), IngestError> {
    let differences = plan.differences(earlier);
    if differences.is_empty() {
        return Ok(());
    }
    Err(IngestError::Differs { out: out.to_owned(), differences })
}

/// Refuses a folder in which something visible lies that ingest did not put there.
fn refuse_foreign(out: &Path) -> Result<(), IngestError> {
    let entries = match fs::read_dir(out) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(IngestError::io("read the folder", out))?,
    };
    for entry in entries {
        let name = entry.map_err(IngestError::io("read the folder", out))?.file_name();
        if !name.as_encoded_bytes().starts_with(b".") {
            let found = name.to_string_lossy().into_owned();
            return Err(IngestError::Foreign { out: out.to_owned(), found });
        }
    }
    Ok(())
}

/// The manifest of a finished set.
pub(crate) fn read_manifest(out: &Path) -> Result<Manifest, IngestError> {
    let path = out.join(MANIFEST_FILE);
    let text = fs::read_to_string(&path).map_err(IngestError::io("read", &path))?;
    Manifest::parse(&text)
        .map_err(|error| IngestError::Damaged { path, problem: error.to_string() })
}

/// How many shards an unfinished set has; none if there is no such set.
pub(crate) fn unfinished(out: &Path) -> Option<usize> {
    let entries = fs::read_dir(out.join(FOLDER)).ok()?;
    let shards =
        entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with("shard-"));
    Some(shards.count())
}

impl Work {
    /// Where shard `index` lies, or will.
    pub fn shard_path(&self, index: u64) -> PathBuf {
        self.out.join(format!("shard-{index:05}.parquet"))
    }

    /// What became of shard `index`, if it is finished and its file is there.
    pub fn finished(&self, index: u64) -> Result<Option<ShardState>, IngestError> {
        let Some(state) = read_json::<ShardState>(&self.state_path(index))? else {
            return Ok(None);
        };
        let whole = state.entry.as_ref().is_none_or(|entry| {
            fs::metadata(self.out.join(&entry.file)).is_ok_and(|file| file.len() == entry.bytes)
        });
        Ok(whole.then_some(state))
    }

    /// Keeps what became of shard `index`.
    pub fn keep(&self, index: u64, state: &ShardState) -> Result<(), IngestError> {
        write_json(&self.state_path(index), state)
    }

    /// Writes a file of the finished set.
    pub fn publish(&self, name: &str, text: &str) -> Result<(), IngestError> {
        write_whole(&self.out.join(name), text.as_bytes())
    }

    /// Removes the state: the manifest is there and says everything.
    pub fn remove(self) -> Result<(), IngestError> {
        drop(self.lock);
        fs::remove_dir_all(&self.folder).map_err(IngestError::io("remove", &self.folder))
    }

    fn state_path(&self, index: u64) -> PathBuf {
        self.folder.join(format!("shard-{index:05}.json"))
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, IngestError> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IngestError::io("read", path)(error)),
        Ok(text) => serde_json::from_str(&text).map(Some).map_err(|error| IngestError::Damaged {
            path: path.to_owned(),
            problem: error.to_string(),
        }),
    }
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), IngestError> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| IngestError::io("write", path)(error.into()))?;
    write_whole(path, text.as_bytes())
}

/// Writes a file so that, whatever happens, it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), IngestError> {
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(IngestError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(IngestError::io("rename", &temporary))
}

impl Plan {
    /// The plan of this program for a listing.
    pub fn new(settings: &IngestSettings, listing: &crate::source::Listing) -> Self {
        Self {
            created_by: CREATED_BY.to_owned(),
            settings: settings.clone(),
            listing: listing.hash.to_hex().to_string(),
            pictures: listing.sources.len() as u64,
        }
    }
}
