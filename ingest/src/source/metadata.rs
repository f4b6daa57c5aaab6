//! What img2dataset leaves: numbered shards, and beside each a Parquet file of metadata and a JSON
//! of counts, which hold no pictures.

use std::collections::HashSet;
use std::sync::Arc;

use archives::Kind;
use rayon::prelude::*;

use super::find::{Found, LOOKS, threads};
use super::listing::{self, Listed, What};
use super::numbered::{Place, is_number};
use super::origin::Stored;
use crate::IngestError;

/// What stands behind the number of a shard in the names of its metadata.
const TABLE: &str = ".parquet";
const COUNTS: &str = "_stats.json";

/// A path up to a number, where it is one with this behind it.
fn numbered(listed: &Listed, behind: &str) -> Option<Place> {
    let name = listed.relative.file_name()?.as_encoded_bytes();
    let number = name.strip_suffix(behind.as_bytes()).filter(|number| is_number(number))?;
    let number = std::str::from_utf8(number).ok()?;
    Some((listed.input, listed.relative.with_file_name(number)))
}

/// The number of an archive in its folder.
fn number(listed: &Listed) -> Option<Place> {
    let name = listed.relative.file_name()?.as_encoded_bytes();
    let digits = name.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&name[..digits]).ok().filter(|number| !number.is_empty())?;
    (name.get(digits) == Some(&b'.'))
        .then(|| (listed.input, listed.relative.with_file_name(number)))
}

/// Takes out the metadata beside shards, and leaves of the folders those that are shards.
pub(super) fn pass(found: &mut Found<'_>) -> Result<(), IngestError> {
    let tables = tables(found)?;
    let counts = counts(found);
    found.metadata = (tables.len() + counts.len()) as u64;
    if found.metadata > 0 {
        let is_one = |listed: &Listed, behind, places: &HashSet<Place>| {
            numbered(listed, behind).is_some_and(|place| places.contains(&place))
        };
        found.archives.retain(|listed| !is_one(listed, TABLE, &tables));
        found.companions.retain(|listed| !is_one(listed, COUNTS, &counts));
    }
    found.folders.retain(|place| tables.contains(place) || counts.contains(place));
    Ok(())
}

/// The shards beside which a table of metadata lies: what its columns are is looked up.
fn tables(found: &Found<'_>) -> Result<HashSet<Place>, IngestError> {
    let is_parquet = |listed: &&Listed| listed.what == What::Archive(Kind::Parquet);
    let others = found.archives.iter().filter(|listed| !is_parquet(listed));
    let shards: HashSet<_> = others.filter_map(number).collect();
    let tables: Vec<_> = found
        .archives
        .iter()
        .filter(is_parquet)
        .filter_map(|listed| Some((numbered(listed, TABLE)?, listed)))
        .filter(|(place, _)| shards.contains(place) || found.folders.contains(place))
        .collect();
    if tables.is_empty() {
        return Ok(HashSet::new());
    }
    let told = threads(LOOKS)?.install(|| {
        tables
            .into_par_iter()
            .map(|(place, listed)| Ok(is_metadata(found, listed)?.then_some(place)))
            .collect::<Result<Vec<_>, IngestError>>()
    })?;
    Ok(told.into_iter().flatten().collect())
}

/// The shards beside which counts lie.
fn counts(found: &Found<'_>) -> HashSet<Place> {
    let counts: Vec<_> =
        found.companions.iter().filter_map(|listed| numbered(listed, COUNTS)).collect();
    if counts.is_empty() {
        return HashSet::new();
    }
    let archives: HashSet<_> = found.archives.iter().filter_map(number).collect();
    let is_shard = |place: &Place| archives.contains(place) || found.folders.contains(place);
    counts.into_iter().filter(is_shard).collect()
}

fn is_metadata(found: &Found<'_>, listed: &Listed) -> Result<bool, IngestError> {
    let at = listing::address(&found.inputs, listed.input, &listed.relative);
    let origin = Stored { storage: found.storage.clone(), at: at.clone(), bytes: listed.bytes };
    archives::is_metadata(Arc::new(origin))
        .map_err(|source| IngestError::Archive { at: at.into(), source })
}
