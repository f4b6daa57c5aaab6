//! A list of rejects, made again by looking at all pictures of its part.
//!
//! What was rejected stands nowhere else, so that the part's shards are made once more; they are
//! held against the manifest, and dropped.

use schemas::{FileEntry, Part, Reject, Shard, ShardTable};
use shards::write::ClosedShard;
use storage::Address;
use voice::terminal::counted;

use super::sources::{Sources, wanted_of};
use super::{Mending, want_of_memory};
use crate::IngestError;
use crate::make::{Maker, Start};
use crate::output::rejects::RejectList;
use crate::output::state::ShardState;
use crate::source::Listing;

impl Mending<'_> {
    /// Makes the list of the part at `index` again, and publishes it if it has the bytes that it had.
    pub(super) fn list(&self, index: usize, sources: &mut Sources<'_>) -> Result<(), IngestError> {
        let file = &self.manifest.parts[index].rejects.file;
        self.refuse_other_codebooks(file)?;
        let (part, listing, other) = sources.listing(index, file)?;
        if let Some(other) = other {
            let (file, problem) = (file.clone(), other.to_owned());
            return Err(IngestError::Repair { file, problem });
        }
        let (before, shards): (ShardTable, ShardTable) = self
            .manifest
            .shards_of(index as u32 + 1)
            .map(|shard| shard.entry())
            .partition(|shard| shard.first < part.first);
        self.write_list(part, listing, before, &shards)
    }

    fn write_list(
        &self,
        part: &Part,
        listing: &Listing,
        before: ShardTable,
        shards: &ShardTable,
    ) -> Result<(), IngestError> {
        let Self { out, manifest, means, .. } = *self;
        // Shards on their way to a store would be uploaded for nothing.
        let scratch = match out.local() {
            Some(_) => None,
            None => Some(
                tempfile::tempdir()
                    .map_err(IngestError::io("make a folder in", &std::env::temp_dir()))?,
            ),
        };
        let aside = scratch.as_ref().map(|folder| Address::from(folder.path()));
        let maker = Maker::new(means, aside.as_ref().unwrap_or(out))?;

        let (mut known, mut names) = means.known(out, before)?;
        let start = Start {
            shard: part.first_shard,
            number: part.first,
            place: Default::default(),
            most: part.pictures,
        };

        let mut list = RejectList::begin(means.storage, out, &part.rejects.file)?;
        let mut for_memory = None;
        let mut finish = |_, closed: Option<ClosedShard>, state: ShardState| {
            let entry = shards.holding(state.first).filter(|shard| shard.first == state.first);
            compare(&part.rejects, entry, closed, &state)?;
            for reject in &state.rejects {
                if pictures::is_for_memory(reject) {
                    for_memory.get_or_insert_with(|| reject.clone());
                }
                list.add(reject)?;
            }
            Ok(entry.map(|shard| shard.entry()))
        };
        let wanted = wanted_of(manifest, part);
        maker.make(listing, &wanted, start, (&mut known, &mut names), &mut finish)?;
        if list.entry().blake3 != part.rejects.blake3 {
            let why = "pictures are rejected for other reasons now";
            return Err(differs(&part.rejects, why, for_memory.as_ref()));
        }
        list.publish()
    }
}

/// Whether a shard made again is the one of the manifest.
fn compare(
    list: &FileEntry,
    entry: Option<Shard<'_>>,
    closed: Option<ClosedShard>,
    state: &ShardState,
) -> Result<(), IngestError> {
    let same = match (entry, &closed) {
        (Some(entry), Some(closed)) => {
            closed.entry.blake3 == entry.blake3 && state.pictures == entry.pictures
        }
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    if same {
        return Ok(());
    }
    let for_memory = state.rejects.iter().find(|reject| pictures::is_for_memory(reject));
    Err(differs(list, "the pictures make other shards now", for_memory))
}

/// Why a list is not what it was; one of its rejects may be for want of memory.
fn differs(list: &FileEntry, why: &str, for_memory: Option<&Reject>) -> IngestError {
    let cause = match for_memory {
        Some(reject) => want_of_memory(reject),
        None => "they are not what they were, or --memory-limit or --private-addresses are not, or this is another release of ingest".to_owned(),
    };
    IngestError::Repair { file: list.file.clone(), problem: format!("{why}: {cause}") }
}

/// The error of a list that can't be made again, with what that means.
pub(super) fn with_loss(part: &Part, error: IngestError) -> IngestError {
    let IngestError::Repair { file, problem } = error else { return error };
    let rejected = match part.rejected.values().sum() {
        1 => "1 picture was".to_owned(),
        rejected => format!("{} were", counted(rejected, "picture")),
    };
    let problem = format!(
        "{problem}. Without it is lost which {rejected} rejected, and why; the shards are whole and can be trained on"
    );
    IngestError::Repair { file, problem }
}
