//! A shard set: what its manifest says, and its row groups.

use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use schemas::checksums::CHECKSUMS_KEY;
use schemas::{ColumnChecksums, MANIFEST_FILE, Manifest, ManifestError, ShardEntry, ShardLayout};
use storage::Address;

use super::DataError;
use super::source::{Fetched, ShardSource};

/// A row group of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupRef {
    /// The shard's place in the manifest.
    pub shard: usize,
    /// The group's place in the shard.
    pub group: usize,
    /// Its rows.
    pub rows: usize,
}

/// An opened shard set.
#[derive(Debug, Clone)]
pub struct Dataset {
    source: ShardSource,
    manifest: Manifest,
    names: Vec<Arc<str>>,
    groups: Vec<GroupRef>,
}

impl Dataset {
    /// Opens the set of `source`. Every shard's size is checked against the manifest (where the
    /// store can list), and one shard's columns; a shard's footer is checked when it is read.
    ///
    /// # Errors
    /// [`DataError`] if there is no manifest, it does not fit this program, or a shard is missing
    /// or of another size.
    pub fn open(source: ShardSource) -> Result<Self, DataError> {
        let manifest = read_manifest(&source, MANIFEST_FILE)?;
        Self::of_manifest(source, manifest)
    }

    /// This set as it was when its [`fingerprint`](Self::fingerprint) was this one: itself, or an
    /// earlier version to which pictures were appended since. None if it never was.
    ///
    /// # Errors
    /// [`DataError`] as for [`open`](Self::open).
    pub fn as_of(self, fingerprint: &str) -> Result<Option<Self>, DataError> {
        if self.fingerprint() == fingerprint {
            return Ok(Some(self));
        }
        let mut unread = None;
        for version in (1..self.manifest.version).rev() {
            match read_manifest(&self.source, &Manifest::file_of_version(version)) {
                Ok(manifest) if fingerprint_of(&manifest) == fingerprint => {
                    return Self::of_manifest(self.source, manifest).map(Some);
                }
                Ok(_) => {}
                // It matters only if no other is the one.
                Err(error) => unread = Some(error),
            }
        }
        unread.map_or(Ok(None), Err)
    }

    fn of_manifest(source: ShardSource, manifest: Manifest) -> Result<Self, DataError> {
        check_sizes(&source, &manifest)?;
        let mut groups = Vec::new();
        for (shard, entry) in manifest.shards.iter().enumerate() {
            groups.extend(entry.row_groups.iter().enumerate().map(|(group, &rows)| GroupRef {
                shard,
                group,
                rows: rows as usize,
            }));
        }
        let names = manifest.shards.iter().map(|entry| entry.file.as_str().into()).collect();
        let dataset = Self { source, manifest, names, groups };
        if let Some(&first) = dataset.groups.first() {
            dataset.read(first, &[schemas::layout::ID.to_owned()])?;
        }
        Ok(dataset)
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

    /// Rows of all shards.
    pub fn rows(&self) -> u64 {
        self.groups.iter().map(|group| group.rows as u64).sum()
    }

    /// All row groups, shard by shard.
    pub fn groups(&self) -> &[GroupRef] {
        &self.groups
    }

    /// The file name of a shard.
    pub fn name(&self, shard: usize) -> Arc<str> {
        Arc::clone(&self.names[shard])
    }

    /// Full batches an epoch; what is left over is dropped.
    ///
    /// # Errors
    /// [`DataError::TooFew`] if there is not one.
    pub fn batches_per_epoch(&self, batch: usize) -> Result<u64, DataError> {
        let rows = self.rows();
        match rows / batch as u64 {
            0 => Err(DataError::TooFew { at: self.source.folder().to_string(), rows, batch }),
            batches => Ok(batches),
        }
    }

    /// What identifies the set: BLAKE3, in hexadecimal, over the checksums of its shards.
    pub fn fingerprint(&self) -> String {
        fingerprint_of(&self.manifest)
    }

    /// The address of a shard.
    pub fn address(&self, shard: usize) -> Address {
        self.source.folder().join(&self.names[shard])
    }

    /// The columns of these names of a row group, in one batch.
    ///
    /// # Errors
    /// [`DataError::Shard`] if the shard is damaged or not as the manifest says,
    /// [`DataError::Storage`] if a store does not give it.
    pub fn read(&self, group: GroupRef, columns: &[String]) -> Result<RecordBatch, DataError> {
        let at = self.address(group.shard);
        let entry = &self.manifest.shards[group.shard];
        let mut fetched = self.source.tail(entry)?;
        let metadata = ArrowReaderMetadata::load(&fetched, <_>::default())
            .map_err(|error| DataError::shard(&at, error))?;
        let mask = self.check(group, &at, &metadata, columns)?;
        let chunks = metadata.metadata().row_group(group.group).columns();
        let wanted: Vec<_> = (0..chunks.len())
            .filter(|&leaf| mask.leaf_included(leaf))
            .map(|leaf| {
                let (start, length) = chunks[leaf].byte_range();
                (leaf, start..start + length)
            })
            .collect();
        let ranges = wanted.iter().map(|(_, range)| range.clone());
        self.source.fetch(entry, ranges, &mut fetched)?;

        let fault = |reason: String| DataError::group(&at, group.group, reason);
        let checksums = checksums(&metadata).ok_or_else(|| fault("has no checksums".into()))?;
        for (leaf, range) in wanted {
            let bytes = fetched
                .get_bytes(range.start, (range.end - range.start) as usize)
                .map_err(|error| fault(error.to_string()))?;
            if checksums.get(group.group, leaf) != Some(crc32c::crc32c(&bytes)) {
                let name = chunks[leaf].column_path().string();
                return Err(fault(format!("column `{name}` is damaged: its checksum differs")));
            }
        }
        decode(fetched, metadata, group, mask, &at)
    }

    /// Holds a shard's footer against the manifest; which of its columns are wanted.
    fn check(
        &self,
        group: GroupRef,
        at: &Address,
        metadata: &ArrowReaderMetadata,
        columns: &[String],
    ) -> Result<ProjectionMask, DataError> {
        let layout = ShardLayout::of_schema(metadata.schema())
            .map_err(|error| DataError::shard(at, error))?;
        if layout != *self.layout() {
            return Err(DataError::shard(at, "has other columns than the manifest says"));
        }
        let groups = metadata.metadata().row_groups();
        let rows = groups.get(group.group).map(|group| group.num_rows());
        let expected = self.manifest.shards[group.shard].row_groups.len();
        if groups.len() != expected || rows != i64::try_from(group.rows).ok() {
            let reason = format!(
                "has {} row groups, this one with {} rows; by the manifest {expected} and {}",
                groups.len(),
                rows.unwrap_or(0),
                group.rows
            );
            return Err(DataError::group(at, group.group, reason));
        }
        Ok(ProjectionMask::columns(metadata.parquet_schema(), columns.iter().map(String::as_str)))
    }
}

/// A manifest of a folder of shards.
fn read_manifest(source: &ShardSource, file: &str) -> Result<Manifest, DataError> {
    let folder = source.folder();
    let at = folder.join(file);
    let bytes = match source.storage().read(&at) {
        Ok(bytes) => bytes,
        Err(error) if error.is_missing() => {
            let is_there = folder.local().is_none_or(|path| path.is_dir());
            let (at, reason) = if is_there {
                let first = folder.join(&Manifest::file_of_version(1));
                let finished = source.storage().stat(&first).is_ok_and(|stat| stat.is_some());
                let reason = if finished {
                    format!("it is gone; `ingest repair {folder}` brings it back from its copy")
                } else {
                    format!(
                        "no {file}: the folder is no finished shard set; run `ingest PICTURES --out {folder}` to its end"
                    )
                };
                (at, reason)
            } else {
                let reason = "there is no such folder; give the folder that ingest wrote";
                (folder.clone(), reason.to_owned())
            };
            return Err(DataError::Set { at: at.to_string(), reason });
        }
        Err(error) => return Err(error.into()),
    };
    let wrong = |reason: String| DataError::Set {
        at: at.to_string(),
        reason: format!("{reason}; `ingest repair {folder}` brings back an undamaged copy"),
    };
    let parsed = |error: ManifestError| match error {
        // No copy is of another version.
        ManifestError::Version(_) => {
            DataError::Set { at: at.to_string(), reason: error.to_string() }
        }
        error => wrong(error.to_string()),
    };
    let text = std::str::from_utf8(&bytes).map_err(|error| wrong(error.to_string()))?;
    Manifest::parse(text).map_err(parsed)
}

fn fingerprint_of(manifest: &Manifest) -> String {
    let mut hasher = blake3::Hasher::new();
    for entry in &manifest.shards {
        hasher.update(entry.blake3.as_bytes()).update(&entry.rows.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Holds the sizes of all shards against the manifest.
fn check_sizes(source: &ShardSource, manifest: &Manifest) -> Result<(), DataError> {
    let folder = source.folder();
    let check = |entry: &ShardEntry, bytes: u64| {
        if bytes == entry.bytes {
            return Ok(());
        }
        let reason = format!("has {bytes} bytes, but {} by the manifest", entry.bytes);
        Err(DataError::shard(&folder.join(&entry.file), reason))
    };
    if let Some(path) = folder.local() {
        for entry in &manifest.shards {
            let file = path.join(&entry.file);
            let metadata = fs::metadata(&file)
                .map_err(|error| DataError::shard(&folder.join(&entry.file), error))?;
            check(entry, metadata.len())?;
        }
        return Ok(());
    }
    // A web server lists nothing; there a wrong size shows when the shard is read.
    let Ok(listed) = source.storage().list(folder) else { return Ok(()) };
    let sizes: HashMap<_, _> =
        listed.iter().map(|file| (file.relative.as_str(), file.bytes)).collect();
    for entry in &manifest.shards {
        match sizes.get(entry.file.as_str()) {
            Some(&bytes) => check(entry, bytes)?,
            None => return Err(DataError::shard(&folder.join(&entry.file), "is not there")),
        }
    }
    Ok(())
}

/// The checksums in a shard's footer.
fn checksums(metadata: &ArrowReaderMetadata) -> Option<ColumnChecksums> {
    let entries = metadata.metadata().file_metadata().key_value_metadata()?;
    let entry = entries.iter().find(|entry| entry.key == CHECKSUMS_KEY)?;
    ColumnChecksums::parse(entry.value.as_deref()?)
}

/// The wanted columns of a row group.
fn decode(
    fetched: Fetched,
    metadata: ArrowReaderMetadata,
    group: GroupRef,
    mask: ProjectionMask,
    at: &Address,
) -> Result<RecordBatch, DataError> {
    let fault = |reason: String| DataError::group(at, group.group, reason);
    let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(fetched, metadata)
        .with_projection(mask)
        .with_row_groups(vec![group.group])
        .with_batch_size(group.rows)
        .build()
        .map_err(|error| fault(error.to_string()))?;
    let batch = reader
        .next()
        .ok_or_else(|| fault("holds no rows".into()))?
        .map_err(|error| fault(error.to_string()))?;
    if batch.num_rows() != group.rows {
        return Err(fault(format!("gives {} of {} rows", batch.num_rows(), group.rows)));
    }
    Ok(batch)
}
