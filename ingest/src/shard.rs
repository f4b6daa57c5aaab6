//! Rows → one Parquet file. The bytes follow from the rows and the settings alone.

use std::io::{self, Write};
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
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnPath;
use rayon::prelude::*;
use schemas::checksums::CHECKSUMS_KEY;
use schemas::{ColumnChecksums, IngestSettings, Place, ShardEntry, ShardLayout, layout};
use storage::{Address, Storage};

use crate::row::Row;
use crate::{CREATED_BY, IngestError};

/// Bytes at which a page ends. A reader has one page of each column in memory.
const PAGE_BYTES: usize = 2 << 20;
/// Rows after which the writer looks whether the page is full; wide rows need it to look often.
const ROWS_PER_LOOK: usize = 8;
/// Hexadecimal digits of a row group's hash.
const GROUP_DIGITS: usize = 16;

/// The name of shard `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("shard-{number:05}.parquet")
}

/// A row group that is encoded and compressed, but not yet in a file.
pub(crate) struct Group {
    rows: u64,
    columns: Vec<ArrowColumnChunk>,
}

/// Encodes row groups, for any shard and on many threads at once.
pub(crate) struct Encoder {
    out: Address,
    factory: ArrowRowGroupWriterFactory,
    layout: ShardLayout,
    schema: SchemaRef,
    options: ArrowWriterOptions,
}

impl Encoder {
    /// An encoder of shards in `out`.
    pub fn new(out: &Address, settings: &IngestSettings) -> Result<Self, IngestError> {
        let schema: SchemaRef = Arc::new(settings.layout.arrow_schema());
        let properties = properties(settings).map_err(IngestError::parquet(out))?;
        let options = ArrowWriterOptions::new().with_properties(properties);
        let (_, factory) =
            ArrowWriter::try_new_with_options(io::sink(), schema.clone(), options.clone())
                .and_then(ArrowWriter::into_serialized_writer)
                .map_err(IngestError::parquet(out))?;
        let layout = settings.layout.clone();
        Ok(Self { out: out.clone(), factory, layout, schema, options })
    }

    /// Encodes and compresses rows into a group.
    pub fn encode(&self, rows: &[Row]) -> Result<Group, IngestError> {
        let columns = self.encode_columns(rows).map_err(IngestError::parquet(&self.out))?;
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

    /// Begins the file of shard `number`, which is not seen before it is published.
    pub fn create(&self, storage: &Storage, number: u64) -> Result<ShardWriter, IngestError> {
        let at = self.out.join(&file_name(number));
        let writer = storage.writer(&at)?;
        let (file, _) = ArrowWriter::try_new_with_options(
            Hashed::new(writer),
            self.schema.clone(),
            self.options.clone(),
        )
        .and_then(ArrowWriter::into_serialized_writer)
        .map_err(IngestError::parquet(&at))?;
        Ok(ShardWriter {
            at,
            file,
            rows: 0,
            groups: vec![],
            ends: vec![],
            hashes: vec![],
            checksums: ColumnChecksums::default(),
        })
    }
}

/// A shard in the making.
pub(crate) struct ShardWriter {
    at: Address,
    file: SerializedFileWriter<Hashed<storage::Writer>>,
    rows: u64,
    groups: Vec<u32>,
    ends: Vec<u64>,
    hashes: Vec<String>,
    checksums: ColumnChecksums,
}

impl ShardWriter {
    /// Appends a group to the file.
    pub fn append(&mut self, group: Group) -> Result<(), IngestError> {
        self.append_columns(group.columns).map_err(IngestError::parquet(&self.at))?;
        self.rows += group.rows;
        self.groups.push(group.rows as u32);
        Ok(())
    }

    fn append_columns(&mut self, columns: Vec<ArrowColumnChunk>) -> ParquetResult<()> {
        // What comes before the group has passed on, and so is in no group's hash.
        self.file.flush()?;
        self.file.inner_mut().begin_group();
        let mut writer = self.file.next_row_group()?;
        for column in columns {
            column.append_to_row_group(&mut writer)?;
        }
        let metadata = writer.close()?;
        self.file.flush()?;
        let Hashed { bytes: end, group, .. } = self.file.inner();
        self.ends.push(*end);
        self.hashes.push(group_hash(&blake3::hash(group)));
        let begin = end - group.len() as u64;
        let checksum = |column: &ColumnChunkMetaData| {
            let (start, length) = column.byte_range();
            crc32c::crc32c(&group[(start - begin) as usize..][..length as usize])
        };
        self.checksums.push(metadata.columns().iter().map(checksum).collect());
        Ok(())
    }

    /// Closes the file, which then can be published.
    pub fn close(self) -> Result<ClosedShard, IngestError> {
        let Self { at, mut file, rows, groups, ends, hashes, checksums } = self;
        file.append_key_value_metadata(KeyValue::new(CHECKSUMS_KEY.into(), checksums.to_text()));
        let Hashed { writer, bytes, hasher, .. } =
            file.into_inner().map_err(IngestError::parquet(&at))?;
        let entry = ShardEntry {
            file: at.name().to_owned(),
            rows,
            row_groups: groups,
            row_group_ends: ends,
            row_group_hashes: hashes,
            bytes,
            blake3: hasher.finalize().to_hex().to_string(),
            first: 0,
            pictures: 0,
            start: Place::default(),
        };
        Ok(ClosedShard { writer, entry })
    }
}

/// How a row group's hash is written in the manifest.
pub(crate) fn group_hash(hash: &blake3::Hash) -> String {
    hash.to_hex()[..GROUP_DIGITS].to_owned()
}

/// A whole shard that nobody sees yet. Dropped, it leaves nothing.
pub(crate) struct ClosedShard {
    writer: storage::Writer,
    /// What the manifest says of it, but for its place in the stream.
    pub entry: ShardEntry,
}

impl ClosedShard {
    /// Brings the file to where it belongs.
    pub fn publish(self) -> Result<ShardEntry, IngestError> {
        self.writer.finish()?;
        Ok(self.entry)
    }
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
        Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.perceptual_hash))),
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

/// A writer that hashes what is written to it, and keeps one row group of it.
struct Hashed<W> {
    writer: W,
    bytes: u64,
    hasher: blake3::Hasher,
    /// What was written since the row group began.
    group: Vec<u8>,
}

impl<W> Hashed<W> {
    fn new(writer: W) -> Self {
        Self { writer, bytes: 0, hasher: blake3::Hasher::new(), group: vec![] }
    }

    fn begin_group(&mut self) {
        self.group.clear();
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(buffer).map_err(told)?;
        self.hasher.update(&buffer[..written]);
        self.group.extend_from_slice(&buffer[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    /// Bytes are passed on as they come; to bring them to the disk is for the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error with its causes in its text, since the Parquet library passes on the text alone.
fn told(error: io::Error) -> io::Error {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    io::Error::new(error.kind(), text)
}
