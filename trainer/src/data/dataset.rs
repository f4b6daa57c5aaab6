//! A shard set: what its manifest says, and its row groups.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use schemas::{MANIFEST_FILE, Manifest, ShardLayout};

use super::DataError;

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
    folder: PathBuf,
    manifest: Manifest,
    names: Vec<Arc<str>>,
    groups: Vec<GroupRef>,
}

impl Dataset {
    /// Opens the set in `folder`. Every shard's size is checked against the manifest, and one
    /// shard's columns; a shard's footer is checked when it is read.
    ///
    /// # Errors
    /// [`DataError`] if there is no manifest, it does not fit this program, or a shard is missing
    /// or of another size.
    pub fn open(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join(MANIFEST_FILE);
        let set = |path: &Path, reason: String| DataError::Set { path: path.to_owned(), reason };
        let text = fs::read_to_string(&path).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound if folder.is_dir() => format!(
                    "no {MANIFEST_FILE}: the folder is no finished shard set; run `ingest PICTURES --out {}` to its end",
                    folder.display()
                ),
                std::io::ErrorKind::NotFound => {
                    "there is no such folder; give the folder that ingest wrote".to_owned()
                }
                _ => error.to_string(),
            };
            set(if folder.is_dir() { &path } else { folder }, reason)
        })?;
        let manifest = Manifest::parse(&text).map_err(|error| set(&path, error.to_string()))?;
        let mut groups = Vec::new();
        for (shard, entry) in manifest.shards.iter().enumerate() {
            let file = folder.join(&entry.file);
            let bytes = fs::metadata(&file).map_err(|error| DataError::shard(&file, error))?.len();
            if bytes != entry.bytes {
                let reason = format!("has {bytes} bytes, but {} by the manifest", entry.bytes);
                return Err(DataError::shard(&file, reason));
            }
            groups.extend(entry.row_groups.iter().enumerate().map(|(group, &rows)| GroupRef {
                shard,
                group,
                rows: rows as usize,
            }));
        }
        let names = manifest.shards.iter().map(|entry| entry.file.as_str().into()).collect();
        let dataset = Self { folder: folder.to_owned(), manifest, names, groups };
        if let Some(&first) = dataset.groups.first() {
            dataset.reader(first)?;
        }
        Ok(dataset)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
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
            0 => Err(DataError::TooFew { path: self.folder.clone(), rows, batch }),
            batches => Ok(batches),
        }
    }

    /// What identifies the set: BLAKE3, in hexadecimal, over the checksums of its shards.
    pub fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        for entry in &self.manifest.shards {
            hasher.update(entry.blake3.as_bytes()).update(&entry.rows.to_le_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The columns of this name of a row group, in one batch.
    ///
    /// # Errors
    /// [`DataError::Shard`] if the shard is damaged or not as the manifest says.
    pub fn read(&self, group: GroupRef, columns: &[String]) -> Result<RecordBatch, DataError> {
        let path = self.path(group);
        let fault = |reason: String| DataError::group(&path, group.group, reason);
        let builder = self.reader(group)?;
        let mask =
            ProjectionMask::columns(builder.parquet_schema(), columns.iter().map(String::as_str));
        let mut reader = builder
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

    fn path(&self, group: GroupRef) -> PathBuf {
        self.folder.join(&*self.names[group.shard])
    }

    /// A reader of a group's shard, whose footer has been checked against the manifest.
    fn reader(&self, group: GroupRef) -> Result<ParquetRecordBatchReaderBuilder<File>, DataError> {
        let path = self.path(group);
        let file = File::open(&path).map_err(|error| DataError::shard(&path, error))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|error| DataError::shard(&path, error))?;
        let layout = ShardLayout::of_schema(builder.schema())
            .map_err(|error| DataError::shard(&path, error))?;
        if layout != *self.layout() {
            return Err(DataError::shard(&path, "has other columns than the manifest says"));
        }
        let groups = builder.metadata().row_groups();
        let rows = groups.get(group.group).map(|group| group.num_rows());
        let expected = self.manifest.shards[group.shard].row_groups.len();
        if groups.len() != expected || rows != i64::try_from(group.rows).ok() {
            let reason = format!(
                "has {} row groups, this one with {} rows; by the manifest {expected} and {}",
                groups.len(),
                rows.unwrap_or(0),
                group.rows
            );
            return Err(DataError::group(&path, group.group, reason));
        }
        Ok(builder)
    }
}
