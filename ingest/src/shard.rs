//! Rows → one Parquet file. The bytes follow from the rows and the settings alone.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeBinaryArray, StringArray, UInt32Array, UInt64Array};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowRowGroupWriterFactory, ArrowWriterOptions, compute_leaves,
};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use schemas::{IngestSettings, ShardEntry, ShardLayout, layout};

use crate::row::Row;
use crate::{CREATED_BY, IngestError};

/// Bytes at which a page ends. A reader has one page of each column in memory.
const PAGE_BYTES: usize = 2 << 20;
/// Rows after which the writer looks whether the page is full; wide rows need it to look often.
const ROWS_PER_LOOK: usize = 8;

/// A row group that is encoded and compressed, but not yet in a file.
pub(crate) struct Group {
    rows: u64,
    columns: Vec<ArrowColumnChunk>,
}

/// A shard in the making, under a temporary name.
pub(crate) struct ShardWriter {
    path: PathBuf,
    temporary: PathBuf,
    file: SerializedFileWriter<Hashed>,
    factory: ArrowRowGroupWriterFactory,
    layout: ShardLayout,
    schema: SchemaRef,
    rows: u64,
    groups: Vec<u32>,
}

impl ShardWriter {
    /// Begins the shard that will be at `path`.
    pub fn create(path: &Path, settings: &IngestSettings) -> Result<Self, IngestError> {
        let temporary = temporary(path);
        let file = File::create(&temporary).map_err(IngestError::io("create", &temporary))?;
        let schema = Arc::new(settings.layout.arrow_schema());
        let properties = properties(settings).map_err(IngestError::parquet(path))?;
        let (file, factory) = ArrowWriter::try_new_with_options(
            Hashed::new(file),
            schema.clone(),
            ArrowWriterOptions::new().with_properties(properties),
        )
        .and_then(ArrowWriter::into_serialized_writer)
        .map_err(IngestError::parquet(path))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file,
            factory,
            layout: settings.layout.clone(),
            schema,
            rows: 0,
            groups: vec![],
        })
    }

    /// Encodes and compresses rows into a group; may run on many threads at once.
    pub fn encode(&self, rows: &[Row]) -> Result<Group, IngestError> {
        let columns = self.encode_columns(rows).map_err(IngestError::parquet(&self.path))?;
        Ok(Group { rows: rows.len() as u64, columns })
    }

    fn encode_columns(&self, rows: &[Row]) -> ParquetResult<Vec<ArrowColumnChunk>> {
        // The index matters to encrypted files only.
        let writers = self.factory.create_column_writers(0)?;
        let arrays = columns(rows, &self.layout);
        writers
            .into_par_iter()
            .zip(arrays)
            .zip(self.schema.fields().par_iter())
            .map(|((mut writer, array), field)| {
                for leaf in compute_leaves(field, &array)? {
                    writer.write(&leaf)?;
                }
                writer.close()
            })
            .collect()
    }

    /// Appends a group to the file.
    pub fn append(&mut self, group: Group) -> Result<(), IngestError> {
        self.append_columns(group.columns).map_err(IngestError::parquet(&self.temporary))?;
        self.rows += group.rows;
        self.groups.push(group.rows as u32);
        Ok(())
    }

    fn append_columns(&mut self, columns: Vec<ArrowColumnChunk>) -> ParquetResult<()> {
        let mut writer = self.file.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut writer)?;
        }
        writer.close()?;
        Ok(())
    }

    /// Closes the file, brings it to the disk and gives it its name. Without a row there is no
    /// file.
    pub fn finish(self) -> Result<Option<ShardEntry>, IngestError> {
        let Self { path, temporary, file, rows, groups, .. } = self;
        if groups.is_empty() {
            drop(file);
            std::fs::remove_file(&temporary).map_err(IngestError::io("remove", &temporary))?;
            return Ok(None);
        }
        let (bytes, hash) = file
            .into_inner()
            .map_err(IngestError::parquet(&temporary))?
            .finish()
            .map_err(IngestError::io("write", &temporary))?;
        std::fs::rename(&temporary, &path).map_err(IngestError::io("rename", &temporary))?;
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let blake3 = hash.to_hex().to_string();
        Ok(Some(ShardEntry { file, rows, row_groups: groups, bytes, blake3 }))
    }
}

/// The name under which a file is written before it gets its own.
pub(crate) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

fn properties(settings: &IngestSettings) -> ParquetResult<WriterProperties> {
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(settings.zstd_level)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_write_batch_size(ROWS_PER_LOOK)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_max_row_group_row_count(None);
    for name in [layout::SOURCE, layout::LABEL] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    for name in [layout::ID, layout::SOURCE, layout::LABEL, layout::VIEW] {
        let column = ColumnPath::from(name);
        properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    Ok(properties.build())
}

/// The columns in the order of the schema.
fn columns(rows: &[Row], layout: &ShardLayout) -> Vec<ArrayRef> {
    let numbers = |of: fn(&Row) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)))
    };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.source))),
        binary(rows, 32, |row| &row.content_hash),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.label.as_ref()))),
        numbers(|row| row.view),
        numbers(|row| row.source_size.0),
        numbers(|row| row.source_size.1),
        numbers(|row| row.crop.x),
        numbers(|row| row.crop.y),
        numbers(|row| row.crop.width),
        numbers(|row| row.crop.height),
        binary(rows, layout.picture_bytes(), |row| &row.picture),
    ];
    for (i, &cell) in layout.cells.iter().enumerate() {
        columns.push(binary(rows, layout.hog_bytes(cell), |row| &row.cells[i].hog));
        columns.push(binary(rows, layout.tie_bytes(cell), |row| &row.cells[i].ties));
    }
    for (i, &patch) in layout.cells.iter().enumerate() {
        columns.push(binary(rows, layout.stat_bytes(patch), |row| &row.cells[i].mean));
        columns.push(binary(rows, layout.stat_bytes(patch), |row| &row.cells[i].inv_std));
    }
    columns
}

fn binary(rows: &[Row], bytes: usize, of: impl Fn(&Row) -> &[u8]) -> ArrayRef {
    let mut values = Vec::with_capacity(rows.len() * bytes);
    for row in rows {
        values.extend_from_slice(of(row));
    }
    let width = i32::try_from(bytes).expect("a view of at most 4096 pixels a side");
    Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(values), None))
}

/// A file that hashes what is written to it.
struct Hashed {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Hashed {
    fn new(file: File) -> Self {
        Self { file, hasher: blake3::Hasher::new(), bytes: 0 }
    }

    /// Brings everything to the disk; its size and hash.
    fn finish(self) -> io::Result<(u64, blake3::Hash)> {
        self.file.sync_all()?;
        Ok((self.bytes, self.hasher.finalize()))
    }
}

impl Write for Hashed {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
