//! Rows → one Parquet file. The bytes follow from the rows and the settings alone.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

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
use parquet::schema::types::{ColumnDescPtr, ColumnPath};
use rayon::prelude::*;
use schemas::checksums::CHECKSUMS_KEY;
use schemas::{ColumnChecksums, IngestSettings, Place, ShardEntry, layout};
use storage::{Address, Storage};

use crate::row::Row;
use crate::wide::{Packer, WideColumn};
use crate::{CREATED_BY, IngestError};

/// Bytes that are hashed at once.
const HASHED_AT_ONCE: usize = 128 << 10;
/// Hexadecimal digits of a row group's hash.
const GROUP_DIGITS: usize = 16;

/// The name of shard `number`.
pub(crate) fn file_name(number: u64) -> String {
    format!("shard-{number:05}.parquet")
}

/// A row group that is encoded and compressed, but not yet in a file.
pub(crate) struct Group {
    rows: u64,
    narrow: Vec<ArrowColumnChunk>,
    wide: Vec<WideColumn>,
}

/// Encodes row groups, for any shard and on many threads at once.
pub(crate) struct Encoder {
    out: Address,
    schema: SchemaRef,
    options: ArrowWriterOptions,
    /// Of the columns before the first wide one.
    narrow: SchemaRef,
    factory: ArrowRowGroupWriterFactory,
    wide: Vec<ColumnDescPtr>,
    level: i32,
    packers: Mutex<Vec<Packer>>,
}

impl Encoder {
    /// An encoder of shards in `out`.
    pub fn new(out: &Address, settings: &IngestSettings) -> Result<Self, IngestError> {
        Self::try_new(out, settings).map_err(IngestError::parquet(out))
    }

    fn try_new(out: &Address, settings: &IngestSettings) -> ParquetResult<Self> {
        let schema: SchemaRef = Arc::new(settings.layout.arrow_schema());
        // The narrow columns, of a few bytes a row, have no level below 1.
        let level = ZstdLevel::try_new(settings.zstd_level.max(1))?;
        let options = ArrowWriterOptions::new().with_properties(properties(level));
        let writer = |schema: &SchemaRef| {
            ArrowWriter::try_new_with_options(io::sink(), schema.clone(), options.clone())?
                .into_serialized_writer()
        };
        let first_wide = schema.index_of(settings.layout.picture_column())?;
        let narrow = Arc::new(schema.project(&(0..first_wide).collect::<Vec<_>>())?);
        let (_, factory) = writer(&narrow)?;
        let (whole, _) = writer(&schema)?;
        let wide = whole.schema_descr().columns()[first_wide..].to_vec();
        let (out, packers, level) = (out.clone(), Mutex::default(), settings.zstd_level);
        Ok(Self { out, schema, options, narrow, factory, wide, level, packers })
    }

    /// Encodes and compresses rows into a group.
    pub fn encode(&self, rows: &[Row]) -> Result<Group, IngestError> {
        let (narrow, wide) = rayon::join(|| self.encode_narrow(rows), || self.encode_wide(rows));
        let error = IngestError::parquet(&self.out);
        let (narrow, wide) = narrow.and_then(|narrow| Ok((narrow, wide?))).map_err(error)?;
        Ok(Group { rows: rows.len() as u64, narrow, wide })
    }

    fn encode_narrow(&self, rows: &[Row]) -> ParquetResult<Vec<ArrowColumnChunk>> {
        // The index matters to encrypted files only.
        let writers = self.factory.create_column_writers(0)?;
        let columns = narrow_columns(rows);
        writers
            .into_iter()
            .zip(columns)
            .zip(self.narrow.fields())
            .map(|((mut writer, column), field)| {
                for leaf in compute_leaves(field, &column)? {
                    writer.write(&leaf)?;
                }
                writer.close()
            })
            .collect()
    }

    fn encode_wide(&self, rows: &[Row]) -> ParquetResult<Vec<WideColumn>> {
        let packers = || self.packers.lock().unwrap_or_else(PoisonError::into_inner);
        self.wide
            .par_iter()
            .enumerate()
            .map(|(at, column)| {
                let idle = packers().pop();
                let mut packer = match idle {
                    Some(packer) => packer,
                    None => Packer::new(self.level)?,
                };
                let packed = packer.pack(column, rows.iter().map(|row| row.wide[at].as_slice()));
                packers().push(packer);
                packed
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
        self.append_columns(group.narrow, group.wide).map_err(IngestError::parquet(&self.at))?;
        self.rows += group.rows;
        self.groups.push(group.rows as u32);
        Ok(())
    }

    fn append_columns(
        &mut self,
        narrow: Vec<ArrowColumnChunk>,
        wide: Vec<WideColumn>,
    ) -> ParquetResult<()> {
        // What comes before the group has passed on, and so is in no group's hash.
        self.file.flush()?;
        self.file.inner_mut().begin_group();
        let mut writer = self.file.next_row_group()?;
        for column in narrow {
            column.append_to_row_group(&mut writer)?;
        }
        for column in wide {
            column.append_to_row_group(&mut writer)?;
        }
        let metadata = writer.close()?;
        self.file.flush()?;
        self.hashes.push(group_hash(&self.file.inner_mut().end_group()?));
        let Hashed { bytes: end, group, .. } = self.file.inner();
        self.ends.push(*end);
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

fn properties(level: ZstdLevel) -> WriterProperties {
    let mut properties = WriterProperties::builder()
        .set_created_by(CREATED_BY.to_owned())
        .set_compression(Compression::ZSTD(level))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_row_count(None);
    for name in [layout::SOURCE, layout::LABEL] {
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(name), true);
    }
    for name in [layout::ID, layout::SOURCE, layout::LABEL, layout::VIEW] {
        let column = ColumnPath::from(name);
        properties = properties.set_column_statistics_enabled(column, EnabledStatistics::Chunk);
    }
    properties.build()
}

/// The columns before the first wide one, in the order of the schema.
fn narrow_columns(rows: &[Row]) -> Vec<ArrayRef> {
    let numbers = |of: fn(&Row) -> u32| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.iter().map(of)))
    };
    let hashes = rows.iter().flat_map(|row| row.content_hash).collect();
    vec![
        Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.id))),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| &row.source))),
        Arc::new(FixedSizeBinaryArray::new(32, Buffer::from_vec::<u8>(hashes), None)),
        Arc::new(UInt64Array::from_iter(rows.iter().map(|row| row.perceptual_hash))),
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row.label.as_ref()))),
        numbers(|row| row.view),
        numbers(|row| row.source_size.0),
        numbers(|row| row.source_size.1),
        numbers(|row| row.crop.x),
        numbers(|row| row.crop.y),
        numbers(|row| row.crop.width),
        numbers(|row| row.crop.height),
    ]
}

/// A writer that hashes what is written to it. A row group is gathered first, so that its bytes are
/// hashed and passed on in large pieces.
struct Hashed<W> {
    writer: W,
    bytes: u64,
    hasher: blake3::Hasher,
    in_group: bool,
    /// The newest row group, whole or so far.
    group: Vec<u8>,
}

impl<W: Write> Hashed<W> {
    fn new(writer: W) -> Self {
        Self { writer, bytes: 0, hasher: blake3::Hasher::new(), in_group: false, group: vec![] }
    }

    fn begin_group(&mut self) {
        self.in_group = true;
        self.group.clear();
    }

    /// Passes the row group on; its hash.
    fn end_group(&mut self) -> io::Result<blake3::Hash> {
        self.in_group = false;
        let mut of_group = blake3::Hasher::new();
        // Both hashes of a piece are taken while it is in the processor's cache.
        for piece in self.group.chunks(HASHED_AT_ONCE) {
            of_group.update(piece);
            self.hasher.update(piece);
        }
        self.writer.write_all(&self.group).map_err(told)?;
        Ok(of_group.finalize())
    }
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = if self.in_group {
            self.group.extend_from_slice(buffer);
            buffer.len()
        } else {
            let written = self.writer.write(buffer).map_err(told)?;
            self.hasher.update(&buffer[..written]);
            written
        };
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
