//! A row group of a shard: its columns, held against the manifest and against their checksums.

use arrow::array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use schemas::checksums::CHECKSUMS_KEY;
use schemas::{ColumnChecksums, GroupRef, Shard, ShardLayout};
use storage::Address;

use super::ShardSource;
use super::fetched::Fetched;
use crate::ShardsError;

impl ShardSource {
    /// The columns of these names of a row group of a shard, in one batch.
    ///
    /// # Errors
    /// [`ShardsError::Shard`] if the shard is damaged or not as its entry and the layout say,
    /// [`ShardsError::Storage`] if a store does not give it.
    pub fn read<C: AsRef<str>>(
        &self,
        entry: Shard<'_>,
        layout: &ShardLayout,
        group: GroupRef,
        columns: &[C],
    ) -> Result<RecordBatch, ShardsError> {
        let at = self.folder().join(entry.file);
        let mut fetched = self.tail(entry)?;
        let metadata = ArrowReaderMetadata::load(&fetched, <_>::default())
            .map_err(|error| ShardsError::shard(&at, error))?;
        let mask = check(entry, layout, group, &at, &metadata, columns)?;
        let chunks = metadata.metadata().row_group(group.group).columns();
        let wanted: Vec<_> = (0..chunks.len())
            .filter(|&leaf| mask.leaf_included(leaf))
            .map(|leaf| {
                let (start, length) = chunks[leaf].byte_range();
                (leaf, start..start + length)
            })
            .collect();
        let ranges = wanted.iter().map(|(_, range)| range.clone());
        self.fetch(entry, ranges, &mut fetched)?;

        let fault = |reason: String| ShardsError::group(&at, group.group, reason);
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
}

/// Holds a shard's footer against the manifest; which of its columns are wanted.
fn check<C: AsRef<str>>(
    entry: Shard<'_>,
    layout: &ShardLayout,
    group: GroupRef,
    at: &Address,
    metadata: &ArrowReaderMetadata,
    columns: &[C],
) -> Result<ProjectionMask, ShardsError> {
    let found =
        ShardLayout::of_schema(metadata.schema()).map_err(|error| ShardsError::shard(at, error))?;
    if found != *layout {
        return Err(ShardsError::shard(at, "has other columns than the manifest says"));
    }
    let groups = metadata.metadata().row_groups();
    let rows = groups.get(group.group).map(|group| group.num_rows());
    let expected = entry.row_groups().len();
    if groups.len() != expected || rows != i64::try_from(group.rows).ok() {
        let reason = format!(
            "has {} row groups, this one with {} rows; by the manifest {expected} and {}",
            groups.len(),
            rows.unwrap_or(0),
            group.rows
        );
        return Err(ShardsError::group(at, group.group, reason));
    }
    Ok(ProjectionMask::columns(metadata.parquet_schema(), columns.iter().map(AsRef::as_ref)))
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
) -> Result<RecordBatch, ShardsError> {
    let fault = |reason: String| ShardsError::group(at, group.group, reason);
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
