//! Damaged files of a set, made again as they were.
//!
//! A shard follows from the settings, its pictures, and which pictures were known before it. The
//! manifest says where in the sources its pictures begin and how many there are; what was known is
//! read from the sound shards before it. What is made is published only if its bytes are those that
//! the manifest tells. A list of rejects is made by looking at all pictures of its part again; the
//! rest follows from manifest and shards.

mod derived;
mod rejects;
mod shard;
mod sources;

use std::sync::atomic::{AtomicU64, Ordering};

use schemas::{CodebookLayout, MANIFEST_FILE, Manifest, Part, Reject, Shard};
use shards::verify::{Damage, What, verify};
use storage::{Address, Lock, Storage};

use crate::codebook::Codebook;
use crate::make::{Means, threads};
use crate::output::decide::{self, Mend};
use crate::output::found::look;
use crate::output::refusal::Refusal;
use crate::output::work::{hold, release};
use crate::{IngestError, Progress};
use sources::Sources;
use voice::terminal;

/// What a repair needs to know.
#[derive(Debug, Clone)]
pub struct Repair {
    /// The folder of the set.
    pub out: Address,
    /// Where the sources lie now, in the order in which the manifest tells those of the parts that
    /// have damaged shards or lists of rejects; empty if they lie where they were.
    pub from: Vec<Address>,
    /// The codebooks with which the set was made; needed where shards of such a set are damaged.
    pub codebooks: Vec<Codebook>,
    /// How addresses of lists are fetched.
    pub web: web::Options,
    /// Worker threads; 0 takes one a core.
    pub threads: usize,
    /// About how many bytes pictures and rows in work may take.
    pub memory: u64,
}

/// What a repair did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The manifest itself was brought back from its newest numbered copy.
    pub manifest: bool,
    /// The shards that were made again.
    pub shards: Vec<String>,
    /// The other files that were.
    pub files: Vec<String>,
}

/// Finds damaged files and makes them again, shards and lists of rejects byte for byte.
///
/// # Errors
/// [`IngestError::Repair`] if a source is gone or is not what it was, in which case the file is
/// left as it is; what was repaired before stays so. [`IngestError::Damaged`] if no manifest is
/// undamaged, or files of later versions show that the newest is lost; then nothing is written.
pub fn repair(
    storage: &Storage,
    repair: &Repair,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let out = &repair.out;
    // A lock in a folder that is no set would only look like one in the making.
    if let Err(refusal @ Refusal::NoSet) = decide::mend(look(storage, out)?.0) {
        return Err(refusal.at(storage, out));
    }
    let lock = hold(storage, out)?;
    let repaired = with_lock(storage, repair, &lock, progress);
    release(out, lock);
    repaired
}

fn with_lock(
    storage: &Storage,
    repair: &Repair,
    lock: &Lock,
    progress: &dyn Progress,
) -> Result<Repaired, IngestError> {
    let out = &repair.out;
    let mut repaired = Repaired::default();
    let found = look(storage, out)?.0;
    let manifest = match decide::mend(found).map_err(|refusal| refusal.at(storage, out))? {
        Mend::AsItIs(manifest) => manifest,
        Mend::FromCopy(copy) => {
            storage.put(&out.join(MANIFEST_FILE), copy.bytes)?;
            repaired.manifest = true;
            copy.manifest
        }
    };
    let damages = verify(storage, out, &manifest, &|_| ())?;
    let damaged = Damaged::of(&manifest, damages)?;
    let threads = threads(repair.threads)?;
    let progress = Counted { progress, done: AtomicU64::new(0) };
    let means = Means {
        storage,
        web: &repair.web,
        settings: &manifest.settings,
        codebooks: &repair.codebooks,
        memory: repair.memory,
        threads: &threads,
        progress: &progress,
    };
    Mending { out, manifest: &manifest, means, lock }.all(repair, damaged, &mut repaired)?;
    Ok(repaired)
}

/// A set that is held to be mended.
#[derive(Clone, Copy)]
struct Mending<'a> {
    out: &'a Address,
    manifest: &'a Manifest,
    means: Means<'a>,
    lock: &'a Lock,
}

impl Mending<'_> {
    /// Makes all that is damaged again: shards first, then what follows from sound shards, and last
    /// what may fail where sources are gone.
    fn all(
        &self,
        repair: &Repair,
        damaged: Damaged,
        repaired: &mut Repaired,
    ) -> Result<(), IngestError> {
        let Damaged { shards, lists, derived } = damaged;
        if shards.is_empty() && lists.is_empty() {
            return self.derive(derived, repaired);
        }
        if self.manifest.settings.scaled_decode {
            return Err(IngestError::ScaledDecode(self.out.clone().into()));
        }
        if let Some(&(first, _)) = shards.first() {
            self.refuse_other_codebooks(self.manifest.shards.at(first).file)?;
        }
        let parts = shards.iter().map(|&(_, part)| part).chain(lists.iter().copied()).collect();
        let mut sources = Sources::new(self.means.storage, repair, self.manifest, parts)?;
        let of_shards = shards.iter().map(|&(index, _)| self.manifest.shards.at(index).pictures);
        let of_lists = lists.iter().map(|&part| self.manifest.parts[part].pictures);
        self.means.progress.begin(of_shards.chain(of_lists).sum(), 0);
        self.shards(&shards, &mut sources, &mut repaired.shards)?;
        self.derive(derived, repaired)?;
        for index in lists {
            let part = &self.manifest.parts[index];
            self.list(index, &mut sources).map_err(|error| rejects::with_loss(part, error))?;
            self.lock.check()?;
            repaired.files.push(part.rejects.file.clone());
        }
        Ok(())
    }

    /// Writes what follows from the manifest and sound shards.
    fn derive(&self, files: Vec<String>, repaired: &mut Repaired) -> Result<(), IngestError> {
        for file in files {
            derived::write(self.means.storage, self.out, self.manifest, &file)?;
            repaired.files.push(file);
        }
        Ok(())
    }

    /// Refuses codebooks that are not those with which the set, of which `file` is to be made again,
    /// was made.
    fn refuse_other_codebooks(&self, file: &str) -> Result<(), IngestError> {
        let made_with = &self.manifest.settings.layout.codebooks;
        if self.means.codebooks.iter().map(Codebook::layout).eq(made_with) {
            return Ok(());
        }
        let needed: Vec<_> = made_with
            .iter()
            .map(|CodebookLayout { cell, codes, blake3 }| {
                format!("{codes} codes for patches of {cell} pixels, BLAKE3 {blake3}")
            })
            .collect();
        let problem = if needed.is_empty() {
            "was made without a codebook; leave out --codebook".to_owned()
        } else {
            format!(
                "was made with codebooks; give their files with --codebook: {}",
                needed.join("; ")
            )
        };
        Err(IngestError::Repair { file: file.to_owned(), problem })
    }
}

/// Damaged files, by what they are made of.
struct Damaged {
    /// Places of shards and of their parts in the manifest.
    shards: Vec<(usize, usize)>,
    /// Places of the parts whose lists of rejects are meant.
    lists: Vec<usize>,
    /// Names of files that follow from manifest and shards.
    derived: Vec<String>,
}

impl Damaged {
    fn of(manifest: &Manifest, damages: Vec<Damage>) -> Result<Self, IngestError> {
        let mut damaged = Self { shards: vec![], lists: vec![], derived: vec![] };
        for Damage { file, shard, what } in damages {
            // Nothing makes that again.
            if let What::Beyond { .. } = what {
                continue;
            }
            let list = manifest.parts.iter().position(|part| part.rejects.file == file);
            match (shard, list) {
                (Some(shard), _) => damaged.shards.push((shard, part(manifest, shard)?)),
                (None, Some(part)) => damaged.lists.push(part),
                (None, None) => damaged.derived.push(file),
            }
        }
        Ok(damaged)
    }
}

/// The place of the part that has made a shard.
fn part(manifest: &Manifest, shard: usize) -> Result<usize, IngestError> {
    let Shard { file, first, .. } = manifest.shards.at(shard);
    let made = |part: &Part| (part.first..part.first + part.pictures).contains(&first);
    manifest.parts.iter().position(made).ok_or_else(|| IngestError::Repair {
        file: file.to_owned(),
        problem: "no part of the manifest has made it".into(),
    })
}

/// Tells how far a repair is by pictures: of the sources it reads only some.
struct Counted<'a> {
    progress: &'a dyn Progress,
    done: AtomicU64,
}

impl Progress for Counted<'_> {
    fn picture(&self, rejected: bool) {
        self.progress.picture(rejected);
        self.progress.read(self.done.fetch_add(1, Ordering::Relaxed) + 1);
    }
}

/// Why what was made again is not what it was, where a picture was rejected for want of memory.
fn want_of_memory(Reject { source, message, .. }: &Reject) -> String {
    format!(
        "{} was rejected for want of memory ({message}); give a larger --memory-limit",
        terminal::name(source)
    )
}
