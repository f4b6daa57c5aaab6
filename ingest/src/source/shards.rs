//! What img2dataset leaves: numbered shards, and beside each a Parquet file of metadata and a JSON
//! of counts, which hold no pictures.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use super::Stored;
use super::find::{Found, LOOKS, threads};
use super::{Listed, What};
use crate::IngestError;
use crate::container::{self, Kind};

/// What stands behind the number of a shard in the names of its metadata.
const TABLE: &str = ".parquet";
const COUNTS: &str = "_stats.json";

/// A place by its source and its path in it.
pub(super) type Place = (u32, PathBuf);

/// Whether a folder or a file is called by a number alone.
pub(super) fn is_number(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(u8::is_ascii_digit)
}

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

impl Found<'_> {
    /// Takes out the metadata beside shards, and leaves of the folders those that are shards.
    pub(super) fn pass_metadata(&mut self) -> Result<(), IngestError> {
        let tables = self.tables()?;
        let counts = self.counts();
        self.metadata = (tables.len() + counts.len()) as u64;
        if self.metadata > 0 {
            let is_one = |listed: &Listed, behind, places: &HashSet<Place>| {
                numbered(listed, behind).is_some_and(|place| places.contains(&place))
            };
            self.archives.retain(|listed| !is_one(listed, TABLE, &tables));
            self.companions.retain(|listed| !is_one(listed, COUNTS, &counts));
        }
        self.folders.retain(|place| tables.contains(place) || counts.contains(place));
        Ok(())
    }

    /// The shards beside which a table of metadata lies: what its columns are is looked up.
    fn tables(&self) -> Result<HashSet<Place>, IngestError> {
        let is_parquet = |listed: &&Listed| listed.what == What::Archive(Kind::Parquet);
        let others = self.archives.iter().filter(|listed| !is_parquet(listed));
        let shards: HashSet<_> = others.filter_map(number).collect();
        let tables: Vec<_> = self
            .archives
            .iter()
            .filter(is_parquet)
            .filter_map(|listed| Some((numbered(listed, TABLE)?, listed)))
            .filter(|(place, _)| shards.contains(place) || self.folders.contains(place))
            .collect();
        if tables.is_empty() {
            return Ok(HashSet::new());
        }
        let told = threads(LOOKS)?.install(|| {
            tables
                .into_par_iter()
                .map(|(place, listed)| Ok(self.is_metadata(listed)?.then_some(place)))
                .collect::<Result<Vec<_>, IngestError>>()
        })?;
        Ok(told.into_iter().flatten().collect())
    }

    /// The shards beside which counts lie.
    fn counts(&self) -> HashSet<Place> {
        let counts: Vec<_> =
            self.companions.iter().filter_map(|listed| numbered(listed, COUNTS)).collect();
        if counts.is_empty() {
            return HashSet::new();
        }
        let archives: HashSet<_> = self.archives.iter().filter_map(number).collect();
        let is_shard = |place: &Place| archives.contains(place) || self.folders.contains(place);
        counts.into_iter().filter(is_shard).collect()
    }

    fn is_metadata(&self, listed: &Listed) -> Result<bool, IngestError> {
        let at = super::address(&self.inputs, listed.input, &listed.relative);
        let origin = Stored { storage: self.storage.clone(), at: at.clone(), bytes: listed.bytes };
        container::is_metadata(Arc::new(origin))
            .map_err(|source| IngestError::Archive { at: at.into(), source })
    }
}

/// The folder in which a remote object lies, if it is called by a number.
pub(super) fn folder(input: u32, relative: &str) -> Option<Place> {
    let (folder, _) = relative.rsplit_once('/')?;
    let name = folder.rsplit('/').next()?;
    is_number(name.as_bytes()).then(|| (input, Path::new(folder).to_owned()))
}
