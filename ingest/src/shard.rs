//! Rows → one Parquet file. The bytes follow from the rows and the settings alone.

use std::io;
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

use crate::hashed::Hashed;
use crate::row::Row;
use crate::wide::{Packer, WideColumn};
use crate::{CREATED_BY, IngestError};

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
        let narrow_level = ZstdLevel::try_new(settings.zstd_level.max(1))?;
        let options = ArrowWriterOptions::new().with_properties(properties(narrow_level));
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
        let (file, _) = Hashed::new(writer)
            .map_err(Into::into)
            .and_then(|hashed| {
                let (schema, options) = (self.schema.clone(), self.options.clone());
                ArrowWriter::try_new_with_options(hashed, schema, options)
            })
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
    file: SerializedFileWriter<Hashed>,
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
        let hashed = self.file.inner_mut();
        let (end, group) = (hashed.bytes(), hashed.group());
        self.ends.push(end);
        let begin = end - group.len() as u64;
        let checksum = |column: &ColumnChunkMetaData| {
            let (start, length) = column.byte_range();
            crc32c::crc32c(&group[(start - begin) as usize..][..length as usize])
        };
        self.checksums.push(metadata.columns().iter().map(checksum).collect());
        self.hashes.push(group_hash(&hashed.end_group()?));
        Ok(())
    }

    /// Closes the file, which then can be published.
    pub fn close(self) -> Result<ClosedShard, IngestError> {
        let Self { at, mut file, rows, groups, ends, hashes, checksums } = self;
        file.append_key_value_metadata(KeyValue::new(CHECKSUMS_KEY.into(), checksums.to_text()));
        let (writer, bytes, hash) = file
            .into_inner()
            .and_then(|hashed| Ok(hashed.finish()?))
            .map_err(IngestError::parquet(&at))?;
        let entry = ShardEntry {
            file: at.name().to_owned(),
            rows,
            row_groups: groups,
            row_group_ends: ends,
            row_group_hashes: hashes,
            bytes,
            blake3: hash.to_hex().to_string(),
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
