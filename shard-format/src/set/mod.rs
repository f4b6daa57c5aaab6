//! A set: its files' [`names`], the [`manifest`] that alone decides which belong to it, the [`files`]
//! that are there, and the rows of its shards.

pub mod files;
mod lines;
pub mod manifest;
pub mod names;

use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use schemas::{FileEntry, GroupRef, MANIFEST_FILE, Manifest, Reject, ShardLayout, layout};
use storage::Address;

use crate::ShardsError;
use crate::columns::Columns;
use crate::columns::row::StoredRow;
use crate::source::{ShardFile, ShardSource};

/// Whether a local folder is that of a set, or of one in the making.
pub fn is_set(folder: &Path) -> bool {
    folder.join(MANIFEST_FILE).exists() || folder.join(names::UNFINISHED_FOLDER).exists()
}

/// Whether a path to be written is that of a file of a shard set, or of one in the making.
pub fn is_of_a_set(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    names::is_of_set(name) && is_set(path.parent().unwrap_or(path))
}

/// A finished shard set, at one of its versions.
#[derive(Debug, Clone)]
pub struct ShardSet {
    source: ShardSource,
    manifest: Manifest,
}

impl ShardSet {
    /// Opens the set of `source`: its manifest is read, and nothing else is looked at.
    ///
    /// # Errors
    /// [`ShardsError::NoSet`] if there is none or it is unfinished, [`ShardsError::Damaged`] if its
    /// manifest can't be used, [`ShardsError::Storage`] if the address can't be reached.
    pub fn open(source: impl Into<ShardSource>) -> Result<Self, ShardsError> {
        let source = source.into();
        let (storage, folder) = (source.storage(), source.folder());
        let manifest = manifest::find(storage, folder)?;
        let manifest = manifest.ok_or_else(|| manifest::missing(storage, folder))?;
        Ok(Self::new(source, manifest))
    }

    /// Opens the set of `source` of which all is wanted: every shard's size is held against the
    /// manifest (where the store can list), and one shard's columns; a shard's footer is checked
    /// when it is read.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`ShardsError::Shard`] if a shard is missing or of another size.
    pub fn open_whole(source: impl Into<ShardSource>) -> Result<Self, ShardsError> {
        let set = Self::open(source)?;
        set.check()?;
        Ok(set)
    }

    /// The set of `source` of which the manifest, the newest or an earlier one, is known.
    pub fn new(source: ShardSource, manifest: Manifest) -> Self {
        Self { source, manifest }
    }

    fn check(&self) -> Result<(), ShardsError> {
        manifest::check_sizes(self.source.storage(), self.source.folder(), &self.manifest)?;
        match self.groups().next() {
            Some(first) => self.read(first, &[layout::ID]).map(drop),
            None => Ok(()),
        }
    }

    /// This set as it was when its [`fingerprint`](Self::fingerprint) was this one: itself, or an
    /// earlier version to which pictures were appended since. None if it never was.
    ///
    /// # Errors
    /// As [`open_whole`](Self::open_whole).
    pub fn as_of(self, fingerprint: &str) -> Result<Option<Self>, ShardsError> {
        if self.fingerprint() == fingerprint {
            return Ok(Some(self));
        }
        let mut unread = None;
        for version in (1..self.manifest.version).rev() {
            match manifest::of_version(self.source.storage(), self.source.folder(), version) {
                Ok(manifest) if fingerprint_of(&manifest) == fingerprint => {
                    let set = Self::new(self.source, manifest);
                    set.check()?;
                    return Ok(Some(set));
                }
                Ok(_) => {}
                // It matters only if no other is the one.
                Err(error) => unread = Some(error),
            }
        }
        unread.map_or(Ok(None), Err)
    }

    /// Where it lies.
    pub fn source(&self) -> &ShardSource {
        &self.source
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The columns.
    pub fn layout(&self) -> &ShardLayout {
        &self.manifest.settings.layout
    }

    /// What identifies the set: BLAKE3, in hexadecimal, over the checksums of its shards.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&self.manifest)
    }

    /// Rows of all shards.
    pub fn rows(&self) -> u64 {
        self.manifest.rows
    }

    /// All row groups, shard by shard.
    pub fn groups(&self) -> impl Iterator<Item = GroupRef> + '_ {
        self.manifest.shards.groups()
    }

    /// A row group by its place among all, which must be one.
    pub fn group(&self, at: usize) -> GroupRef {
        self.manifest.shards.group(at)
    }

    /// The file name of a shard.
    pub fn name(&self, shard: usize) -> Arc<str> {
        self.manifest.shards.at(shard).file.into()
    }

    /// The address of a shard.
    pub fn address(&self, shard: usize) -> Address {
        self.source.folder().join(self.manifest.shards.at(shard).file)
    }

    /// A shard of which little is wanted.
    pub fn shard(&self, shard: usize) -> ShardFile {
        let entry = self.manifest.shards.at(shard);
        ShardFile::new(self.source.storage(), self.source.folder(), entry.file, entry.bytes)
    }

    /// The columns of these names of a row group, in one batch.
    ///
    /// # Errors
    /// [`ShardsError::Shard`] if the shard is damaged or not as the manifest says,
    /// [`ShardsError::Storage`] if a store does not give it.
    pub fn read<C: AsRef<str>>(
        &self,
        group: GroupRef,
        columns: &[C],
    ) -> Result<RecordBatch, ShardsError> {
        let entry = self.manifest.shards.at(group.shard);
        self.source.read(entry, self.layout(), group, columns)
    }

    /// That a row group is not as it should be.
    pub fn fault(&self, group: GroupRef, reason: impl ToString) -> ShardsError {
        ShardsError::group(&self.address(group.shard), group.group, reason)
    }

    /// Row `index` of the set, counted over its shards in order.
    ///
    /// # Errors
    /// [`ShardsError`] if there is no such row, or its shard can't be read.
    pub fn row(&self, index: u64) -> Result<StoredRow, ShardsError> {
        let mut left = index;
        for (shard, entry) in self.manifest.shards.iter().enumerate() {
            if left < entry.rows {
                let (batch, layout) = self.shard(shard).row(left as usize)?;
                return StoredRow::of(Columns::of(&batch), &layout, 0)
                    .map_err(|error| ShardsError::shard(&self.address(shard), error));
            }
            left -= entry.rows;
        }
        let problem = format!("has {} rows, so there is no row {index}", self.manifest.rows);
        Err(ShardsError::NoSet { at: self.source.folder().clone().into(), problem })
    }

    /// The rejects of the set, in listing order.
    ///
    /// # Errors
    /// [`ShardsError`] if the lists can't be read.
    pub fn rejects(&self) -> Result<Vec<Reject>, ShardsError> {
        let lists = self.manifest.parts.iter().map(|part| &part.rejects);
        let rejects = lists.map(|list| self.list(list)).collect::<Result<Vec<_>, _>>()?;
        Ok(rejects.into_iter().flatten().collect())
    }

    fn list(&self, list: &FileEntry) -> Result<Vec<Reject>, ShardsError> {
        let folder = self.source.folder();
        let at = folder.join(&list.file);
        let damaged = |problem: String| ShardsError::Damaged {
            file: at.to_string(),
            problem: format!("{problem}; `ingest repair {folder}` makes it again"),
        };
        let bytes = match self.source.storage().read(&at) {
            Err(error) if error.is_missing() => return Err(damaged("it is gone".to_owned())),
            bytes => bytes?,
        };
        let lines = bytes.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        let reject = |(index, line): (usize, &[u8])| {
            serde_json::from_slice(line)
                .map_err(|error| damaged(format!("line {}: {error}", index + 1)))
        };
        lines.enumerate().map(reject).collect()
    }
}

fn fingerprint_of(manifest: &Manifest) -> String {
    let mut hasher = blake3::Hasher::new();
    for entry in &manifest.shards {
        hasher.update(entry.blake3.to_string().as_bytes()).update(&entry.rows.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
