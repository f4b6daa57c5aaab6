//! Damaged shards, one after the other.

use schemas::{Manifest, Shard, ShardTable};
use shards::set::names::Numbered;
use shards::write::ClosedShard;

use super::sources::{Sources, wanted_of};
use super::{Mending, want_of_memory};
use crate::IngestError;
use crate::known::{Known, Names};
use crate::make::{Maker, Start};
use crate::output::some_of;
use crate::output::state::ShardState;

impl Mending<'_> {
    /// Makes shards again, each named by its place and that of its part, and tells their names. Those
    /// whose pictures are not what they were are left as they are, which is no error before the end.
    pub(super) fn shards(
        &self,
        damaged: &[(usize, usize)],
        sources: &mut Sources<'_>,
        made: &mut Vec<String>,
    ) -> Result<(), IngestError> {
        let Self { out, manifest: Manifest { settings, shards, .. }, means, .. } = *self;
        let maker = Maker::new(means, out)?;
        let (mut known, mut learnt) = (Known::new(settings), 0);
        let (mut failed, mut first_failed) = (vec![], None);
        for &(index, part) in damaged {
            // What was made again just now is sound.
            let sound = (learnt..index).filter(|at| !failed.contains(at));
            let sound: ShardTable = sound.map(|at| shards.at(at)).collect();
            means.threads.install(|| known.learn(means.storage, out, &sound, settings.views))?;
            // Its own pictures become known while it is made.
            learnt = index + 1;
            let file = shards.at(index).file.to_owned();
            match self.shard(&maker, index, part, sources, &mut known)? {
                None => made.push(file),
                Some(other) => {
                    // What the attempt made known is not what is in the set.
                    (known, learnt) = (Known::new(settings), 0);
                    failed.push(index);
                    first_failed.get_or_insert((file, other));
                }
            }
        }
        let Some((file, other)) = first_failed else { return Ok(()) };
        let in_spite = match &made[..] {
            [] => String::new(),
            made => format!(". Made again in spite of it: {}", some_of(made)),
        };
        Err(IngestError::Repair { file, problem: format!("{other}{in_spite}") })
    }

    /// Makes a shard again. If it can't be, and the sources list other files, a sentence on those.
    fn shard(
        &self,
        maker: &Maker<'_>,
        index: usize,
        part: usize,
        sources: &mut Sources<'_>,
        known: &mut Known,
    ) -> Result<Option<String>, IngestError> {
        let (entries, views) = (&self.manifest.shards, self.manifest.settings.views);
        let entry = entries.at(index);
        let (part, listing, other) = sources.listing(part, entry.file)?;
        let before = entries.iter().take(index).collect();
        let mut names = Names::new(self.means.storage, self.out, views, before);
        let start = Start {
            shard: number(entry)?,
            number: entry.first,
            place: entry.start,
            most: entry.pictures,
        };
        let wanted = wanted_of(self.manifest, part);
        let mut finish = |_, closed: Option<ClosedShard>, state: ShardState| {
            publish(entry, closed, &state)?;
            Ok(None)
        };
        let made = maker.make(listing, &wanted, start, (known, &mut names), &mut finish);
        self.lock.check()?;
        match (made, other) {
            (Ok(_), _) => Ok(None),
            (Err(IngestError::Repair { .. } | IngestError::Archive { .. }), Some(other)) => {
                Ok(Some(other.to_owned()))
            }
            (Err(error), _) => Err(error),
        }
    }
}

/// Publishes a shard that was made again, if it is what it was.
fn publish(
    entry: Shard<'_>,
    closed: Option<ClosedShard>,
    state: &ShardState,
) -> Result<(), IngestError> {
    let differs = |problem: String| {
        let for_memory = state.rejects.iter().find(|reject| pictures::is_for_memory(reject));
        let cause = match for_memory {
            Some(reject) => want_of_memory(reject),
            None => "its pictures are not what they were when it was made, or --memory-limit or --private-addresses are not, or this is another release of ingest".to_owned(),
        };
        Err(IngestError::Repair {
            file: entry.file.to_owned(),
            problem: format!("{problem}; {cause}. The shard is left as it is"),
        })
    };
    if state.pictures != entry.pictures {
        return differs(format!(
            "the sources give {} pictures for it instead of {}",
            state.pictures, entry.pictures
        ));
    }
    match closed {
        Some(closed) if closed.entry.blake3 == entry.blake3 => {
            closed.publish()?;
            Ok(())
        }
        Some(closed) => differs(format!(
            "made again it has {} rows in {} bytes with other contents, instead of {} in {}",
            closed.entry.rows, closed.entry.bytes, entry.rows, entry.bytes
        )),
        None => differs("none of its pictures can be used any more".into()),
    }
}

/// The number in a shard's name.
fn number(entry: Shard<'_>) -> Result<u64, IngestError> {
    match Numbered::of(entry.file) {
        Some(Numbered::Shard(number)) => Ok(number),
        _ => Err(IngestError::Repair {
            file: entry.file.to_owned(),
            problem: "its name is none that ingest gives".into(),
        }),
    }
}
